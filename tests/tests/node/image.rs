//! The sidecar's image is not on the nodes, and nobody can pull it.

use std::time::{Duration, Instant};

use drainhook_tests::{
    gateway::Gateway,
    load::Mix,
    measured::measured,
    soak::Cut,
    stage::{Deployed, Life, SIDECAR, Scene, play},
    wait::until,
};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    cut::{LONG, only_cut, until_nothing_new_comes},
    judgement,
};

/// Long enough for requests on every connection that is open. Only ever used to see that nothing fails meanwhile.
const A_WHILE: Duration = Duration::from_secs(3);

#[test]
fn the_old_pods_serve_while_the_new_one_waits_for_the_sidecars_image() {
    play(async |scene| {
        let image = LateImage::of(scene);
        let mut gateway = scene.put_up(Gateway::new()).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        gateway.become_another(image.gateway()).await.unwrap();
        let waiting = async || gateway.lives().into_iter().find(waits_for_its_image);
        until("a new pod waits for its image", waiting)
            .await
            .unwrap();
        gateway.until_serving().await.unwrap();
        let lives = gateway.lives();
        let told = lives.iter().filter(|life| life.deleted.is_some()).count();
        assert_eq!(
            told, 0,
            "old pods that were told to end before a new one was there"
        );
        image.arrives();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 2);
    });
}

#[test]
fn a_pod_drains_to_its_end_while_its_successor_waits_for_the_sidecars_image() {
    play(async |scene| {
        let image = LateImage::of(scene);
        image.arrives();
        let gateway = scene.put_up(image.gateway()).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        image.goes();
        let pod = gateway.a_pod().await.unwrap();
        gateway.delete(&pod, None).await.unwrap();
        gateway.until_gone(&pod).await.unwrap();
        let waiting = async || gateway.lives().into_iter().find(waits_for_its_image);
        let successor = until("the successor waits for its image", waiting).await;
        assert!(!successor.unwrap().has_served());
        image.arrives();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 1);
    });
}

#[test]
fn a_sidecar_that_is_killed_in_a_drain_is_not_started_again_and_its_image_not_waited_for() {
    play(async |scene| {
        let image = LateImage::of(scene);
        image.arrives();
        let gateway = image.gateway().annotation("min-drain", LONG);
        let gateway = scene.put_up(gateway).await.unwrap();
        let mix = Mix::small();
        let traffic = gateway.load(mix).await.unwrap();
        image.goes();
        let pod = gateway.a_pod().await.unwrap();
        let sidecar = gateway.container(&pod, SIDECAR).unwrap();
        gateway.delete(&pod, None).await.unwrap();
        until_nothing_new_comes(&gateway, &pod).await;
        let killed = Instant::now();
        sidecar.signal(Signal::KILL).unwrap();
        let life = gateway.until_gone(&pod).await.unwrap();
        let sidecar = life.container(SIDECAR).unwrap();
        assert_eq!(sidecar.restart_count, 0, "{}", life.describe());
        image.arrives();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        let cut = Cut::new(&gateway, &life, killed).unwrap();
        let lost = only_cut(&record, &cut, cut.most(&mix));
        let took = life.took().unwrap();
        measured(format_args!("{lost} requests lost; gone after {took:.1?}"));
    });
}

#[test]
fn a_pod_whose_sidecar_cannot_come_back_serves_on_and_loses_at_its_end_what_is_in_flight() {
    play(async |scene| {
        let image = LateImage::of(scene);
        image.arrives();
        let gateway = scene.put_up(image.gateway()).await.unwrap();
        let mix = Mix::small();
        let traffic = gateway.load(mix).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        image.goes();
        let sidecar = gateway.container(&pod, SIDECAR).unwrap();
        sidecar.signal(Signal::KILL).unwrap();
        until_without_its_sidecar(&gateway, &pod).await;
        // Envoy serves on the connections that it has.
        let before = traffic.count();
        let passed_over = gateway.until_passed_over(&pod).await.unwrap();
        sleep(A_WHILE).await;
        assert_eq!(traffic.count().failed, 0, "{before:?}");
        let killed = Instant::now();
        gateway.delete(&pod, None).await.unwrap();
        let life = gateway.until_gone(&pod).await.unwrap();
        image.arrives();
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        assert!(life.asked.is_none(), "{:#?}", life.log);
        let cut = Cut::new(&gateway, &life, killed).unwrap();
        let cut = cut.passed_over_since(passed_over);
        let lost = only_cut(&record, &cut, mix.at_once());
        let took = life.took().unwrap();
        measured(format_args!("{lost} requests lost; gone after {took:.1?}"));
    });
}

/// Waits until the sidecar of a pod waits for its image and the pod is not ready.
async fn until_without_its_sidecar(gateway: &Deployed<'_>, pod: &str) {
    let without = async || {
        let life = gateway.life(pod).ok()?;
        (!life.is_ready() && waits_for_its_image(&life)).then_some(())
    };
    let what = "the sidecar cannot come back";
    until(what, without).await.unwrap()
}

fn waits_for_its_image(life: &Life) -> bool {
    let reason = || {
        let state = life.container(SIDECAR)?.state.as_ref()?;
        state.waiting.as_ref()?.reason.as_deref()
    };
    life.deleted.is_none() && reason().is_some_and(|reason| reason.contains("ImagePull"))
}

/// The sidecar's image under a name of a scene's own, which no registry has: it comes to the nodes and goes
/// as a test likes.
struct LateImage<'a> {
    scene: &'a Scene<'a>,
    name: String,
}

impl<'a> LateImage<'a> {
    /// It is nowhere yet.
    fn of(scene: &'a Scene<'a>) -> Self {
        let name = format!("drainhook.test/{}/shutdown-manager:1", scene.namespace());
        Self { scene, name }
    }

    /// A gateway whose pods need it.
    fn gateway(&self) -> Gateway {
        Gateway::new().annotation("image", &self.name)
    }

    fn arrives(&self) {
        let sidecar = self.scene.stage().images().sidecar.reference();
        self.on_every_node(&["tag", "--force", sidecar, &self.name]);
    }

    /// What runs of it goes on.
    fn goes(&self) {
        self.on_every_node(&["rm", "--sync", &self.name]);
    }

    fn on_every_node(&self, arguments: &[&str]) {
        for node in self.scene.cluster().nodes() {
            let mut ctr = node.command("ctr");
            ctr.args(["--namespace", "k8s.io", "images"])
                .args(arguments);
            let output = ctr.output().unwrap();
            assert!(output.status.success(), "{ctr:?}: {output:?}");
        }
    }
}
