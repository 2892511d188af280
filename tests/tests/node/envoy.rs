//! What happens to Envoy, or to the application beside it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use drainhook_tests::{
    bootstrap::Bootstrap,
    gateway::{Gateway, strict_probe},
    load::Mix,
    measured::measured,
    stage::{Deployed, Life, Throttled, play},
    wait::until,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{cut::kill_in_a_drain, judgement};

/// The grace period that the pods had before they were injected, in seconds.
const GRACE: u64 = 5;

/// A bound of the drain, and so a grace period of the pod, which is longer than anything takes here, and
/// shorter than these tests wait for it.
const LONG: &str = "130s";

#[test]
fn an_application_that_its_probe_restarts_drains_nobody() {
    play(async |scene| {
        let gateway = Gateway::new().beside_its_application().edit(|template| {
            template["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
            template["spec"]["containers"][1]["livenessProbe"] = strict_probe("/", 8080);
        });
        let gateway = scene.put_up(gateway).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        hang(&gateway, &pod, "application");
        until_restarted(&gateway, &pod, "application").await;
        serves_as_if_nothing_had_happened(&gateway).await;
        let life = gateway.life(&pod).unwrap();
        assert!(
            life.asked.is_none(),
            "somebody asked for a drain: {:#?}",
            life.log
        );
        assert_eq!(life.container("envoy").unwrap().restart_count, 0);
    });
}

#[test]
fn an_envoy_that_hangs_is_killed_after_its_own_grace_period_and_not_the_pods() {
    play(async |scene| {
        let gateway = Gateway::new().edit(|template| {
            template["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
            template["spec"]["containers"][0]["livenessProbe"] = strict_probe("/ready", 8002);
        });
        let gateway = gateway.annotation("drain-timeout", LONG);
        let gateway = scene.put_up(gateway).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        hang(&gateway, &pod, "envoy");
        until_restarted(&gateway, &pod, "envoy").await;
        let life = gateway.life(&pod).unwrap();
        // It was killed after it was asked in vain, which is when both grace periods began.
        let (ended, code) = life.last_ended_by("envoy").unwrap();
        assert_eq!(code, 137, "{}", life.describe());
        let took = ended.saturating_duration_since(life.asked.expect("its hook was called"));
        let (own, pods) = (Duration::from_secs(GRACE), grace_period(&life));
        assert!(pods > 20 * own, "{pods:?} and {own:?} are too much alike");
        assert!(took >= own, "{took:?} after it was asked");
        assert!(took < pods, "{took:?} after it was asked");
        measured(format_args!(
            "ended {took:.1?} after it was asked; it had {own:?}, its pod {pods:?}"
        ));
        // The drain that the probe's kill has asked for says nothing to the new process.
        serves_as_if_nothing_had_happened(&gateway).await;
    });
}

#[test]
fn an_envoy_that_is_killed_in_a_drain_is_not_waited_for() {
    is_not_waited_for(Gateway::new());
}

#[test]
fn an_envoy_with_its_admin_interface_on_a_socket_is_not_waited_for_either() {
    is_not_waited_for(Gateway::new().admin_on_a_socket());
}

/// Nothing runs that the kubelet could call a hook for.
#[test]
fn a_pod_whose_envoy_does_not_start_is_not_held() {
    play(async |scene| {
        let gateway = Gateway::new().replicas(1).edit(|template| {
            template["spec"]["containers"][0]["args"] = json!(["--config-yaml", "{"]);
        });
        let gateway = gateway
            .annotation("admin", "9901")
            .annotation("drain-timeout", LONG);
        let gateway = scene.begin(gateway).await.unwrap();
        let fails = async || {
            let lives = gateway.lives();
            let life = lives.first()?;
            let envoy = life.container("envoy")?;
            (envoy.restart_count > 0).then(|| life.name().to_owned())
        };
        let pod = until("Envoy fails to start", fails).await.unwrap();
        gateway.delete(&pod, None).await.unwrap();
        let life = gateway.until_gone(&pod).await.unwrap();
        ended_before_its_grace_period(&life);
    });
}

#[test]
fn a_pod_whose_envoy_waits_for_its_control_plane_is_not_held() {
    play(async |scene| {
        let gateway = Gateway::new().replicas(1).edit(|template| {
            let bootstrap = waits_for_its_control_plane().to_string();
            template["spec"]["containers"][0]["args"] = json!(["--config-yaml", bootstrap]);
        });
        let gateway = gateway.annotation("drain-timeout", LONG);
        let gateway = scene.begin(gateway).await.unwrap();
        let runs = async || {
            let lives = gateway.lives();
            let life = lives.first()?;
            let state = life.container("envoy")?.state.clone()?;
            state.running.map(|_| life.name().to_owned())
        };
        let pod = until("Envoy runs", runs).await.unwrap();
        gateway.delete(&pod, None).await.unwrap();
        let life = gateway.until_gone(&pod).await.unwrap();
        assert!(!life.has_served());
        assert!(life.asked.is_some(), "{}", life.describe());
        ended_before_its_grace_period(&life);
    });
}

#[test]
fn a_gateway_that_gets_hardly_any_cpu_loses_nothing() {
    play(async |scene| {
        let throttled = Gateway::new()
            .annotation("cpu-limit", "10m")
            .edit(|template| {
                let envoy = &mut template["spec"]["containers"][0];
                envoy["resources"]["limits"] = json!({ "cpu": "50m" });
            });
        let gateway = scene.put_up(throttled).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        gateway.roll().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 2);
        for container in ["envoy", "shutdown-manager"] {
            let sum = throttled_in_all(&gateway, container);
            let Throttled { periods, time } = sum;
            assert!(
                periods > 0 && !time.is_zero(),
                "{container} had all it wanted"
            );
            measured(format_args!("{container} was throttled: {sum:?}"));
        }
    });
}

/// How the containers of this name were held to their CPU limit, in all pods together: those that are gone, and
/// those that serve. One alone may have been kept from its limit by a machine that was busier than that.
fn throttled_in_all(gateway: &Deployed<'_>, container: &str) -> Throttled {
    let lives = gateway.lives();
    let each = lives.iter().map(|life| match life.deleted {
        Some(_) => life.waits.throttled.get(container).copied(),
        None => gateway
            .container(life.name(), container)
            .ok()?
            .throttled()
            .ok(),
    });
    let known: Vec<_> = each.flatten().collect();
    assert!(!known.is_empty(), "nobody has read it");
    known
        .into_iter()
        .fold(Throttled::default(), |sum, one| Throttled {
            periods: sum.periods + one.periods,
            time: sum.time + one.time,
        })
}

/// Kills the Envoy of one of two pods in its drain.
fn is_not_waited_for(gateway: Gateway) {
    play(async |scene| {
        let life = kill_in_a_drain(scene, gateway, "envoy").await;
        assert!(
            life.report().unwrap().contains(": envoy-gone after"),
            "{:?}",
            life.report()
        );
    });
}

/// A pod was gone before its grace period could end it.
fn ended_before_its_grace_period(life: &Life) {
    let (took, grace) = (life.took().unwrap(), grace_period(life));
    assert!(took < grace, "gone after {took:?}, and it had {grace:?}");
    measured(format_args!("gone after {took:.1?}, and it had {grace:?}"));
}

fn grace_period(life: &Life) -> Duration {
    let spec = life.pod.spec.as_ref().unwrap();
    let seconds = spec.termination_grace_period_seconds.unwrap();
    Duration::from_secs(u64::try_from(seconds).unwrap())
}

/// Its admin interface is there, its listeners are not, and the control plane never will be.
fn waits_for_its_control_plane() -> Value {
    Bootstrap::new()
        .admin(SocketAddr::from((Ipv4Addr::LOCALHOST, 9901)))
        .listeners_from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
        .value()
}

fn hang(gateway: &Deployed<'_>, pod: &str, container: &str) {
    let container = gateway.container(pod, container).unwrap();
    container.signal(Signal::STOP).unwrap();
}

/// Waits until a container was restarted and its pod is ready again.
async fn until_restarted(gateway: &Deployed<'_>, pod: &str, container: &str) {
    let restarted = async || {
        let life = gateway.life(pod).ok()?;
        let ready = life.ready.last()?.1;
        (ready && life.container(container)?.restart_count > 0).then_some(())
    };
    let what = format!("{container} is restarted");
    until(&what, restarted).await.unwrap();
}

async fn serves_as_if_nothing_had_happened(gateway: &Deployed<'_>) {
    gateway.until_serving().await.unwrap();
    let traffic = gateway.load(Mix::small()).await.unwrap();
    judgement::nothing_failed(&traffic.stop().await.unwrap());
}
