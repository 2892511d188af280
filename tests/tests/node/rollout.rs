//! Rollouts under load.

use drainhook_tests::{
    cluster::{Cluster, Network, Traffic},
    load::{Mix, Target},
    wait::until,
};

use crate::gateway;

#[tokio::test]
async fn no_request_fails_while_every_pod_is_replaced() {
    if !Network::available("a rollout on a node").unwrap() {
        return;
    }
    let cluster = Cluster::start(1).await.unwrap();
    let (envoy, tools) = gateway::provide_images(&cluster).await.unwrap();
    let manifest = gateway::inject(&gateway::manifest(&envoy, &tools, 2)).unwrap();
    let address = gateway::deploy(&cluster, &manifest).await.unwrap();
    let node = cluster.nodes()[0].namespace();
    let (target, mix) = (Target::default(), Mix::standard());
    let traffic = Traffic::start(node, address, &target, mix).await.unwrap();
    until("a thousand answers", async || {
        (traffic.count().answered >= 1_000).then_some(())
    })
    .await
    .unwrap();
    gateway::restart(&cluster).unwrap();
    gateway::until_rolled_out(&cluster).await.unwrap();
    let record = traffic.stop().await.unwrap();
    assert_eq!(record.describe_failures(), Vec::<String>::new());
}
