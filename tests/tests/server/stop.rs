//! How it begins and how it ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use drainhook_tests::{process::Process, wait::until};
use http_body_util::{BodyExt, channel::Channel};
use tokio::task::JoinSet;

use crate::stage::{Client, REVIEW, Server, command};

/// For what takes a moment on an idle machine.
const BOUND: Duration = Duration::from_secs(120);

#[tokio::test]
async fn it_serves_without_any_cluster_and_says_what_is_off() {
    let server = Server::start(&[]).await;
    server.client().ask().await.unwrap().patched().unwrap();
    let reason = "neither inside of a pod nor with KUBECONFIG set";
    let page = server.page("/readyz?verbose").await.unwrap();
    assert!(
        page.contains(&format!("[+] namespaces: off: {reason}")),
        "{page}"
    );
    let log = server.process.log();
    let told = log
        .lines()
        .find(|line| line.contains("no cluster is asked"));
    assert!(told.is_some_and(|line| line.contains(reason)), "{log}");

    let server = Server::start(&["--cluster=off"]).await;
    server
        .until_page("/readyz?verbose", "off: --cluster off")
        .await;
}

#[tokio::test]
async fn a_ca_of_its_own_without_a_cluster_is_a_wrong_flag() {
    let mut process = Process::spawn("drainhook serve", command()).unwrap();
    let status = process.wait(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(64));
    let said = process.log();
    assert!(said.contains("--certs self needs the cluster"), "{said}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--stop-delay=1h"]).await;
    server.process.terminate().unwrap();
    server.until_page("/readyz", "HTTP/1.1 503").await;
    let answer = server.client().ask().await.unwrap().patched().unwrap();
    assert!(answer.is_last);
    assert!(server.process.exited().unwrap().is_none(), "it serves on");
    server.process.terminate().unwrap();
    let status = server.process.wait(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(1), "it is not as it should be");
    let log = server.process.log();
    assert!(log.contains("a second signal"), "{log}");
}

#[tokio::test]
async fn a_stop_loses_no_admission() {
    let mut server = Server::start(&["--stop-delay=2s"]).await;
    let client = server.client();
    let mut asking = JoinSet::new();
    for number in 0..12 {
        asking.spawn(ask_until_gone(client.clone(), number % 3 == 0));
    }
    until("a thousand decisions", async || {
        let decided = server
            .metric("drainhook_admission_reviews_total", &[])
            .await;
        (decided > 1000.0).then_some(())
    })
    .await
    .unwrap();

    server.process.terminate().unwrap();
    server.until_page("/readyz", "HTTP/1.1 503").await;
    // One that is still under way when the port is closed.
    let mut slow = client.connect().await.unwrap();
    let (mut rest, body) = Channel::<Bytes, anyhow::Error>::new(1);
    let (begun, end) = REVIEW.split_at(REVIEW.len() / 2);
    rest.send_data(begun.into()).await.unwrap();
    let slow = tokio::spawn(async move { slow.send(body.boxed()).await });
    until("the port to be closed", async || {
        client.connect_without_tls().await.is_err().then_some(())
    })
    .await
    .unwrap();
    rest.send_data(end.into()).await.unwrap();
    drop(rest);
    let answer = slow.await.unwrap().unwrap().patched().unwrap();
    assert!(answer.is_last);

    let mut after = 0;
    for answered in asking.join_all().await {
        let (before, last) = answered.unwrap();
        assert!(before > 0);
        after += last;
    }
    assert!(after > 0, "answers that were the last of their connections");
    let status = server.process.wait(BOUND).await.unwrap();
    let log = server.process.log();
    assert!(
        status.success() && log.contains("\"connections_cut\":0"),
        "{log}"
    );
}

/// As the API server does: a connection is kept until an answer says otherwise, or used once. Returns
/// how many answers there were, and how many of them were the last of their connections.
async fn ask_until_gone(client: Client, once: bool) -> anyhow::Result<(u64, u64)> {
    let (mut answers, mut last) = (0, 0);
    while let Ok(mut connection) = client.connect().await {
        loop {
            let answer = connection.ask().await?.patched()?;
            answers += 1;
            last += u64::from(answer.is_last);
            if once || answer.is_last {
                break;
            }
        }
    }
    Ok((answers, last))
}

/// A pod whose decision panics is not known, so the panic itself is tested where a double can be put in;
/// what can be shown here is that nothing of the process is left behind by whatever comes in.
#[tokio::test]
async fn whatever_is_posted_the_process_goes_on() {
    let server = Arc::new(Server::start(&[]).await);
    let client = server.client();
    let mut connection = client.connect().await.unwrap();
    for body in ["", "{", "[]", "null", "{\"kind\":\"AdmissionReview\"}"] {
        let answer = connection.send(crate::stage::whole(body)).await.unwrap();
        assert_eq!(answer.status, 400, "{body}");
        connection.ask().await.unwrap().patched().unwrap();
    }
    assert_eq!(
        server.metric("drainhook_admission_panics_total", &[]).await,
        0.0
    );
}
