//! The other ways in which pods end.

use std::time::{Duration, Instant};

use drainhook_tests::{
    cluster::Cordon, gateway::Gateway, load::Mix, measured::measured, soak::Cut, stage::play,
    wait::until,
};
use kube::api::EvictParams;
use serde_json::json;
use tokio::time::sleep;

use crate::{cut::only_cut, judgement};

/// A grace period at deletion that is shorter than the longest requests, in seconds.
const GRACE: u32 = 6;

#[test]
fn pods_that_are_scaled_down_drain_at_the_same_time() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new().replicas(3)).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        scene.ask("scale deployment/gateway --replicas=1").unwrap();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 2);
    });
}

#[test]
fn an_eviction_through_the_api_drains() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new()).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        gateway
            .api()
            .evict(&pod, &EvictParams::default())
            .await
            .unwrap();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 1);
    });
}

#[test]
fn a_node_that_is_drained_loses_no_request() {
    play(async |scene| {
        // One on each node.
        let spread = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": { "scene": scene.namespace() } },
        }]);
        let gateway = Gateway::new().edit(move |template| {
            template["spec"]["topologySpreadConstraints"] = spread.clone();
        });
        let gateway = scene.put_up(gateway).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        let cordon = Cordon::of(scene.cluster(), "node-2").unwrap();
        // Only what is this test's: others are at work on the same node.
        let pods = format!("--pod-selector=scene={}", scene.namespace());
        scene
            .ask(&format!("drain node-2 {pods} --timeout=170s"))
            .unwrap();
        gateway.until_rolled_out().await.unwrap();
        drop(cordon);
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 1);
    });
}

#[test]
fn a_short_grace_period_at_deletion_costs_only_requests_that_are_longer() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new()).await.unwrap();
        let mix = Mix::small();
        let traffic = gateway.load(mix).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        let asked = Instant::now();
        gateway.delete(&pod, Some(GRACE)).await.unwrap();
        let life = gateway.until_gone(&pod).await.unwrap();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        // Each request that is lost was in flight in that pod when the grace period was over, and of a kind
        // that takes long.
        let over = asked + Duration::from_secs(u64::from(GRACE));
        let cut = Cut::new(&gateway, &life, over).unwrap();
        let cut = cut.of_long_requests(&record);
        let lost = only_cut(&record, &cut, cut.most(&mix));
        measured(format_args!("{lost} requests lost"));
        // The drain was asked for, and cut short by Kubernetes.
        assert!(life.asked.is_some(), "{}", life.describe());
    });
}

#[test]
fn a_rollout_that_is_undone_in_the_middle_loses_nothing() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new().replicas(3)).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        gateway.restart().unwrap();
        let one_ends = async || gateway.lives().iter().find_map(|life| life.deleted);
        until("the first old pod is told to end", one_ends)
            .await
            .unwrap();
        scene.ask("rollout undo deployment/gateway").unwrap();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        let lives = gateway.lives();
        let served = lives.iter().filter(|life| life.has_served());
        let ended = served.filter(|life| life.deleted.is_some()).count();
        assert!(ended >= 2, "an old pod and a new one ended: {ended}");
        judgement::drained(&gateway, &record, ended);
    });
}

#[test]
fn a_pod_that_is_deleted_twice_drains_once() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new()).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        gateway.delete(&pod, None).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        gateway.delete(&pod, None).await.unwrap();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        let ended = judgement::drained(&gateway, &record, 1);
        let hooks = ended[0]
            .log
            .iter()
            .filter(|line| line.contains("drain asked for"));
        assert_eq!(hooks.count(), 1, "{:#?}", ended[0].log);
    });
}
