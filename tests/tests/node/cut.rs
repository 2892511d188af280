//! A container that is killed while its pod drains.

use std::time::Duration;

use drainhook_tests::{
    load::Mix,
    soak::Cut,
    stage::{Gateway, Life, Scene},
    wait::until,
};
use rustix::process::Signal;
use tokio::time::sleep;

/// Kills a container of one of two pods in its drain, and gives what became of the pod. What was in
/// flight there may be lost, and nothing else.
pub(crate) async fn kill_in_a_drain(scene: &Scene<'_>, gateway: Gateway, container: &str) -> Life {
    let gateway = scene.put_up(gateway).await.unwrap();
    let traffic = gateway.load(Mix::small()).await.unwrap();
    let pod = gateway.a_pod().await.unwrap();
    let container = gateway.container(&pod, container).unwrap();
    gateway.delete(&pod, None).await.unwrap();
    let drains = async || gateway.life(&pod).ok()?.asked;
    until("the drain begins", drains).await.unwrap();
    // The news of the end has travelled, and nothing new comes.
    sleep(Duration::from_secs(4)).await;
    let cut = Cut::now(&gateway, &pod).unwrap();
    container.signal(Signal::KILL).unwrap();
    let life = gateway.until_gone(&pod).await.unwrap();
    gateway.until_rolled_out().await.unwrap();
    let record = traffic.stop().await.unwrap();
    let lost = record.failures().count();
    let others = record.failures().filter(|(request, _)| !cut.hit(request));
    assert_eq!(others.count(), 0, "{:#?}", record.describe_failures());
    println!(
        "{lost} requests lost; gone after {:?}",
        life.took().unwrap()
    );
    life
}
