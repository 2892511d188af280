//! Only clients of a CA may call, and the CA is a file that changes.

use drainhook_tests::{cluster::Authority, volume::Volume, wait::until};

use crate::stage::Server;

#[tokio::test]
async fn only_clients_of_the_ca_are_answered_while_the_ca_is_replaced_and_broken() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, others] = ["ours", "others"].map(|name| Authority::generate(name).unwrap());
    let place = directory.path().join("clients");
    let mut volume = Volume::mount(&place, &[("ca.crt", &ours.certificate())]).unwrap();
    let flag = format!("--client-ca={}", volume.file("ca.crt").display());
    let server = Server::start(&[&flag]).await;
    let showing = |authority: &Authority| {
        let identity = authority.user("kube-apiserver", None).unwrap();
        server.client_showing(&identity)
    };
    let (our_client, other_client) = (showing(&ours), showing(&others));

    let mut kept = our_client.connect().await.unwrap();
    kept.ask().await.unwrap().patched().unwrap();
    assert!(server.client().ask().await.is_err(), "shows none");
    assert!(other_client.ask().await.is_err(), "shows somebody else's");

    volume.swap(&[("ca.crt", &others.certificate())]).unwrap();
    until("the other CA", async || other_client.ask().await.ok())
        .await
        .unwrap()
        .patched()
        .unwrap();
    assert!(our_client.ask().await.is_err());
    kept.ask().await.unwrap().patched().unwrap();

    volume.swap(&[("ca.crt", "nonsense")]).unwrap();
    server.until_page("/readyz?verbose", "ca.crt").await;
    other_client.ask().await.unwrap().patched().unwrap();
    assert!(our_client.ask().await.is_err());
    assert!(
        server.client().ask().await.is_err(),
        "a fault lets nobody in"
    );
}

#[tokio::test]
async fn of_the_clients_of_the_ca_only_those_named_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, others] = ["ours", "others"].map(|name| Authority::generate(name).unwrap());
    let file = directory.path().join("ca.crt");
    std::fs::write(&file, ours.certificate()).unwrap();
    let authority = format!("--client-ca={}", file.display());
    let server = Server::start(&[&authority, "--client-name=front,kube-apiserver"]).await;
    let ask = async |authority: &Authority, name: &str| {
        let identity = authority.user(name, None).unwrap();
        server.client_showing(&identity).ask().await
    };

    for name in ["kube-apiserver", "front"] {
        ask(&ours, name).await.unwrap().patched().unwrap();
        assert!(ask(&others, name).await.is_err(), "{name} of another CA");
    }
    assert!(ask(&ours, "somebody").await.is_err());
}
