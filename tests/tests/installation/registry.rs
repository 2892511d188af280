//! The way in which images come onto nodes that are somebody else's, on nodes of our own: they are pushed to
//! a registry, and the nodes pull them by their digests.

use drainhook_tests::{
    cluster::push, gateway::has_drain, helm::Release, installation::NAME, skip::skip,
};

use crate::stage::Stage;

#[tokio::test]
async fn nodes_pull_the_installation_and_the_sidecars_from_a_registry_by_their_digests() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    let Some(own) = stage.own() else {
        stage.leave();
        skip("a cluster that is given pulls from a registry of its own or from none");
        return;
    };
    let registry = own.registry().await.unwrap();
    let place = format!("{}/some/where", registry.host());
    let (webhook, sidecar) = (stage.webhook.clone(), stage.images.sidecar.clone());
    let pushed = tokio::task::spawn_blocking(move || {
        anyhow::Ok([push(&webhook, &place)?, push(&sidecar, &place)?])
    });
    let [webhook, sidecar] = pushed.await.unwrap().unwrap();

    stage.namespaces().await;
    stage
        .release
        .install(&Release::images(&webhook, &sidecar))
        .unwrap();
    stage.verified();
    let runs = stage.kubectl(&format!(
        "get pods -n {NAME} -o jsonpath={{.items[*].status.containerStatuses[*].imageID}}"
    ));
    assert_eq!(runs, [webhook.reference(); 3].join(" "));

    let gateway = stage.gateway(1);
    gateway.deploy().await.unwrap();
    let pods = gateway.pods().await.unwrap();
    assert!(pods.iter().all(has_drain), "{pods:#?}");
    let status = pods[0].status.as_ref().unwrap();
    let mut containers = status.init_container_statuses.iter().flatten();
    let manager = containers
        .find(|container| container.name == "shutdown-manager")
        .unwrap();
    assert_eq!(manager.image_id, sidecar.reference());
    stage.leave();
}
