//! What has no way of being told to go elsewhere.

use std::time::{Duration, Instant};

use anyhow::Result;
use drainhook_tests::{
    due::Reason,
    gateway::Gateway,
    load::Mix,
    stage::{Deployed, Scene, play},
};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::oneshot, task::JoinHandle};

use crate::judgement;

/// The floor and the bound, both in seconds.
const FLOOR: u64 = 3;
const BOUND: u64 = 6;

/// Two clocks are compared, and both are read a moment late.
const READING: Duration = Duration::from_millis(200);

#[test]
fn what_never_ends_is_held_until_its_bound_and_then_cut_and_told() {
    play(async |scene| {
        let gateway = Gateway::new()
            .replicas(1)
            .annotation("min-drain", &format!("{FLOOR}s"))
            .annotation("upgrade-timeout", &format!("{BOUND}s"));
        let gateway = scene.put_up(gateway).await.unwrap();
        // All that is left after the floor is what never ends.
        let mix = Mix {
            endless_websocket: 3,
            short: 2,
            keep_alive: 2,
            sparse: 4,
            ..Mix::default()
        };
        let traffic = gateway.load(mix).await.unwrap();
        let tcp = hold(scene, &gateway).await.unwrap();
        let pod = gateway.a_pod().await.unwrap();
        // The new pod is there before the old one is told to end.
        gateway.restart().unwrap();
        let life = gateway.until_gone(&pod).await.unwrap();
        let cut = tcp.await.unwrap();
        let record = traffic.stop().await.unwrap();

        assert_eq!(record.describe_failures(), Vec::<String>::new());
        assert_eq!(record.cut(), 3, "websockets that were cut");
        let (asked, over) = (life.asked.unwrap(), life.over.unwrap());
        let held = cut.saturating_duration_since(asked);
        let least = Duration::from_secs(FLOOR + BOUND);
        assert!(
            held + READING >= least,
            "the TCP connection was held for {held:?}"
        );
        assert!(
            cut + READING >= over,
            "it was cut before the drain was over"
        );
        let verdict = life.verdict(&record, gateway.ports().traffic).unwrap();
        assert_eq!(verdict.reason, Reason::WebsocketBound, "{verdict:?}");
        judgement::on_time(&verdict);

        let report = life.report().unwrap();
        for part in [": capped after", "3 upgrades", "0.0.0.0_8001=1"] {
            assert!(report.contains(part), "{report}");
        }
    });
}

/// Opens a TCP connection through the Service, and gives the moment at which it is cut.
async fn hold(scene: &Scene<'_>, gateway: &Deployed<'_>) -> Result<JoinHandle<Instant>> {
    let node = scene.cluster().nodes()[0].namespace().clone();
    let service = gateway.tcp_service();
    let (opened, open) = oneshot::channel();
    let cut = tokio::spawn(async move {
        let held = node.run(async move || {
            let mut stream = TcpStream::connect(service).await.unwrap();
            opened.send(()).unwrap();
            // An error is an end too.
            let _ = stream.read(&mut [0]).await;
            Instant::now()
        });
        held.await.unwrap()
    });
    open.await?;
    Ok(cut)
}
