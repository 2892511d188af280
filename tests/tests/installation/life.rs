//! From the installation to its end: with Helm, and with `kubectl apply`.

use drainhook_tests::{gateway::has_drain, installation::NAME, wait::until};

use crate::{objects, stage::Stage};

#[tokio::test]
async fn a_plain_helm_install_gets_ready_by_itself_works_and_goes_without_a_trace() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    let before = objects::all(&stage);
    // `--wait` returns once everything is ready: nobody has made a certificate.
    stage.release.install(&stage.values(&[])).unwrap();
    assert!(objects::all(&stage).contains(&format!("Secret/{NAME}-ca in {NAME}")));

    let gateway = stage.gateway(1);
    gateway.deploy().await.unwrap();
    let pods = gateway.pods().await.unwrap();
    assert!(pods.iter().all(has_drain), "{pods:#?}");
    gateway.delete().unwrap();

    stage.release.uninstall().unwrap();
    until_as(&stage, &before).await;
    // Nothing blocks pods, or says anything about them: there is nobody to ask.
    let gateway = stage.gateway(1);
    gateway.deploy().await.unwrap();
    assert!(!gateway.pods().await.unwrap().iter().any(has_drain));
    gateway.delete().unwrap();

    // And once more, with what it left behind, which is nothing.
    stage.release.install(&stage.values(&[])).unwrap();
    gateway.deploy().await.unwrap();
    assert!(gateway.pods().await.unwrap().iter().all(has_drain));
    stage.leave().await;
}

/// Waits until the cluster holds what it held before.
async fn until_as(stage: &Stage, before: &std::collections::BTreeSet<String>) {
    let mut now = objects::all(stage);
    let same = until("the cluster is as before", async || {
        now = objects::all(stage);
        (now == *before).then_some(())
    });
    let same = same.await;
    let more: Vec<_> = now.difference(before).collect();
    let less: Vec<_> = before.difference(&now).collect();
    assert!(same.is_ok(), "left behind: {more:#?}; missing: {less:#?}");
}
