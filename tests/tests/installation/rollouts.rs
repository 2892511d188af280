//! The usual ways in which a gateway's pods end, under load, on whatever cluster there is: what is
//! tested of rollouts where the nodes are somebody else's. `tests/tests/node/` has every shape and fault.

use drainhook_tests::{
    gateway::{Workload, has_drain},
    wait::until,
};
use kube::ResourceExt;

use crate::stage::{GATEWAYS, Stage};

#[tokio::test]
async fn gateways_are_rolled_undone_scaled_evicted_and_deleted_and_no_request_fails() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    stage.release.install(&stage.values(&[])).unwrap();
    stage.verified();
    let gateway = stage.gateway(2);
    let load = stage.load(&gateway).await;

    gateway.restart().unwrap();
    settled(&gateway).await;
    gateway.restart().unwrap();
    until("a rollout's first new pod", async || {
        (gateway.pods().await.ok()?.len() > 2).then_some(())
    })
    .await
    .unwrap();
    stage.kubectl(&format!("rollout undo deployment/gateway -n {GATEWAYS}"));
    settled(&gateway).await;

    for replicas in [3, 2] {
        stage.kubectl(&format!(
            "scale deployment/gateway -n {GATEWAYS} --replicas={replicas}"
        ));
        settled(&gateway).await;
    }

    let evicted = one_of(&gateway).await;
    stage.shell(&format!(
        "echo '{{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": \
         {{\"name\": \"{evicted}\", \"namespace\": \"{GATEWAYS}\"}}}}' \
         | kubectl create --raw /api/v1/namespaces/{GATEWAYS}/pods/{evicted}/eviction -f -"
    ));
    gone(&gateway, &evicted).await;
    let deleted = one_of(&gateway).await;
    // The second time it may be gone, on a machine that is busy enough.
    for _ in 0..2 {
        stage.kubectl(&format!(
            "delete pod {deleted} -n {GATEWAYS} --wait=false --ignore-not-found"
        ));
    }
    gone(&gateway, &deleted).await;

    let (requests, failures) = load.stop().await.unwrap();
    assert_eq!(failures, Vec::<String>::new(), "of {requests} requests");
    gateway.delete().unwrap();
    stage.leave();
}

/// Waits until no pod begins or ends any more. Each has its drain.
async fn settled(gateway: &Workload<'_>) {
    gateway.until_rolled_out().await.unwrap();
    for pod in gateway.pods().await.unwrap() {
        assert!(has_drain(&pod), "{}", pod.name_any());
    }
}

/// Waits until this pod has ended, and another is there in its place.
async fn gone(gateway: &Workload<'_>, name: &str) {
    until("the end of a pod", async || {
        let pods = gateway.pods().await.ok()?;
        pods.iter().all(|pod| pod.name_any() != name).then_some(())
    })
    .await
    .unwrap();
    settled(gateway).await;
}

async fn one_of(gateway: &Workload<'_>) -> String {
    gateway.pods().await.unwrap()[0].name_any()
}
