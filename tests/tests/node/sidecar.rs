//! What happens to the sidecar does not happen to Envoy.

use std::time::{Duration, Instant};

use drainhook_tests::{
    gateway::Gateway,
    load::Mix,
    measured::measured,
    stage::{Deployed, SIDECAR, Scene, play},
    wait::until,
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    cut::{kill_in_a_drain, strike_in_a_drain},
    judgement::{self, finished},
};

/// A grace period that is longer than a drain of 20 s needs it, in seconds.
const GRACE: u64 = 28;

/// Figures in seconds are cut off.
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn envoy_serves_on_while_its_sidecar_is_killed() {
    play(async |scene| {
        touches_nothing(scene, |gateway, pod| {
            let sidecar = gateway.container(pod, SIDECAR).unwrap();
            sidecar.signal(Signal::KILL).unwrap();
        })
        .await;
    });
}

#[test]
fn envoy_serves_on_while_its_sidecar_runs_out_of_memory() {
    play(async |scene| {
        let pod = touches_nothing(scene, |gateway, pod| {
            let sidecar = gateway.container(pod, SIDECAR).unwrap();
            sidecar.run_out_of_memory().unwrap();
        })
        .await;
        assert_eq!(pod, "OOMKilled");
    });
}

#[test]
fn envoy_serves_on_while_its_sidecar_hangs_and_is_restarted_by_its_probe() {
    play(async |scene| {
        touches_nothing(scene, |gateway, pod| {
            let sidecar = gateway.container(pod, SIDECAR).unwrap();
            sidecar.signal(Signal::STOP).unwrap();
        })
        .await;
    });
}

#[test]
fn a_sidecar_that_is_killed_in_a_drain_costs_what_is_in_flight_and_nothing_else() {
    play(async |scene| {
        kill_in_a_drain(scene, Gateway::new(), SIDECAR).await;
    });
}

#[test]
fn a_sidecar_that_runs_out_of_memory_in_a_drain_costs_no_more_than_one_that_is_killed() {
    play(async |scene| {
        let life = strike_in_a_drain(scene, Gateway::new(), SIDECAR, |sidecar| {
            sidecar.run_out_of_memory().unwrap();
        })
        .await;
        let state = life.container(SIDECAR).and_then(|it| it.state.clone());
        let reason = state.and_then(|state| state.terminated?.reason);
        assert_eq!(reason.as_deref(), Some("OOMKilled"), "{}", life.describe());
    });
}

#[test]
fn a_sidecar_that_hangs_in_a_drain_holds_envoy_for_the_grace_period_and_loses_nothing() {
    play(async |scene| {
        let gateway = Gateway::new()
            .annotation("drain-timeout", "20s")
            .edit(|template| {
                template["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
            });
        let gateway = scene.put_up(gateway).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        let sidecar = gateway.container(&pod, SIDECAR).unwrap();
        gateway.delete(&pod, None).await.unwrap();
        let told = async || {
            let life = gateway.life(&pod).ok()?;
            life.log
                .iter()
                .any(|line| line.contains("phase=\"floor\""))
                .then_some(())
        };
        until("Envoy is told to drain", told).await.unwrap();
        sidecar.signal(Signal::STOP).unwrap();
        let life = gateway.until_gone(&pod).await.unwrap();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        // Envoy has told every client to go elsewhere, and by then they all have.
        judgement::nothing_failed(&record);
        assert!(life.over.is_none(), "{:#?}", life.log);
        let (envoy, over) = (finished(&life, "envoy").0, life.grace_ends.unwrap());
        assert!(envoy + SECOND >= over, "{envoy}, {over}");
    });
}

/// Lets something happen to the sidecar of one of two pods under load, and returns why it ended, once
/// it is back. No request fails, and no connection to Envoy is closed.
async fn touches_nothing(scene: &Scene<'_>, happen: impl FnOnce(&Deployed<'_>, &str)) -> String {
    let gateway = scene.put_up(Gateway::new()).await.unwrap();
    let mix = Mix {
        endless_websocket: 2,
        ..Mix::small()
    };
    let traffic = gateway.load(mix).await.unwrap();
    let pod = gateway.a_pod().await.unwrap();
    let before = Instant::now();
    happen(&gateway, &pod);
    let back = async || {
        let life = gateway.life(&pod).ok()?;
        let sidecar = life.container(SIDECAR)?;
        let ended = sidecar.last_state.as_ref()?.terminated.clone()?;
        let ready = life.ready.last()?.1 && sidecar.state.as_ref()?.running.is_some();
        ready.then_some((life, ended))
    };
    let (life, ended) = until("the sidecar is back", back).await.unwrap();
    gateway.until_serving().await.unwrap();
    let record = traffic.stop().await.unwrap();
    judgement::nothing_failed(&record);
    assert_eq!(record.cut(), 0, "websockets that were cut");
    assert_eq!(record.replaced, 0, "connections that Envoy has closed");
    assert_eq!(life.container("envoy").unwrap().restart_count, 0);
    assert!(
        life.asked.is_none(),
        "nobody asked for a drain: {:#?}",
        life.log
    );
    // Once, if anybody saw it: not before, and not for longer than until its sidecar was back.
    let unready = life.unready();
    assert!(unready.len() <= 1, "{:?}", life.ready);
    assert!(life.is_ready(), "{:?}", life.ready);
    let reason = ended.reason.unwrap_or_default();
    match unready.first() {
        Some((from, to)) => {
            assert!(*from >= before, "it was not ready before");
            let out = to.saturating_duration_since(*from);
            measured(format_args!("{reason}: out of the endpoints for {out:.1?}"));
        }
        None => measured(format_args!("{reason}: never seen out of the endpoints")),
    }
    reason
}
