//! A container that is killed while its pod drains.

use std::time::Instant;

use drainhook_tests::{
    gateway::Gateway,
    load::{Mix, Record},
    measured::measured,
    soak::Cut,
    stage::{Container, Deployed, Life, Scene},
    wait::until,
};
use rustix::process::Signal;

use crate::judgement;

/// A floor that no test reaches, so that a drain is under way whenever something is done to it.
pub(crate) const LONG: &str = "60s";

/// Kills a container of one of two pods in its drain, and gives what became of the pod.
pub(crate) async fn kill_in_a_drain(scene: &Scene<'_>, gateway: Gateway, container: &str) -> Life {
    strike_in_a_drain(scene, gateway, container, |container| {
        container.signal(Signal::KILL).unwrap();
    })
    .await
}

/// Ends a container of one of two pods by force in its drain, and gives what became of the pod. What was in
/// flight there may be lost, and nothing else.
pub(crate) async fn strike_in_a_drain(
    scene: &Scene<'_>,
    gateway: Gateway,
    container: &str,
    strike: impl FnOnce(&Container),
) -> Life {
    let gateway = gateway.annotation("min-drain", LONG);
    let gateway = scene.put_up(gateway).await.unwrap();
    let traffic = gateway.load(Mix::small()).await.unwrap();
    let pod = gateway.a_pod().await.unwrap();
    let container = gateway.container(&pod, container).unwrap();
    gateway.delete(&pod, None).await.unwrap();
    until_nothing_new_comes(&gateway, &pod).await;
    let killed = Instant::now();
    strike(&container);
    let life = gateway.until_gone(&pod).await.unwrap();
    gateway.until_rolled_out().await.unwrap();
    let record = traffic.stop().await.unwrap();
    let cut = Cut::new(&gateway, &life, killed).unwrap();
    let lost = only_cut(&record, &cut, cut.most(&Mix::small()));
    let ended = life.ended_by("envoy").unwrap();
    let within = ended.saturating_duration_since(killed);
    measured(format_args!(
        "{lost} requests lost; Envoy ended within {within:.1?}"
    ));
    life
}

/// Waits until a pod drains and the news of its end has travelled, so that nothing new comes.
pub(crate) async fn until_nothing_new_comes(gateway: &Deployed<'_>, pod: &str) {
    let drains = async || {
        let life = gateway.life(pod).ok()?;
        life.asked.and(life.unknown)
    };
    let what = "the drain begins and the pod is passed over";
    until(what, drains).await.unwrap();
}

/// Nothing failed but what was lost by a cut, and of that at most so many requests. Gives how many.
pub(crate) fn only_cut(record: &Record, cut: &Cut, most: usize) -> usize {
    let (lost, others): (Vec<_>, Vec<_>) =
        record.failures().partition(|(request, _)| cut.hit(request));
    assert_eq!(others.len(), 0, "{:#?}", record.describe_failures());
    assert!(lost.len() <= most, "{:#?}", record.describe_failures());
    judgement::every_kind_was_answered(record);
    lost.len()
}
