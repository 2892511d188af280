//! What has no way of being told to go elsewhere.

use std::time::{Duration, Instant};

use anyhow::Result;
use drainhook_tests::{
    due::Reason,
    gateway::Gateway,
    load::{Mix, Outcome, Record, Request},
    measured::measured,
    stage::{Deployed, Scene, play},
};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::oneshot, task::JoinHandle};

use crate::judgement;

/// The floor and the bound, both in seconds.
const FLOOR: u64 = 3;
const BOUND: u64 = 6;

/// Two clocks are compared, and both are read a moment late.
const READING: Duration = Duration::from_millis(200);

/// How late a line of a log may be stamped.
const LINE: Duration = Duration::from_secs(1);

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
        let tcp = tcp.await.unwrap();
        let record = traffic.stop().await.unwrap();

        assert_eq!(record.describe_failures(), Vec::<String>::new());
        let (asked, over, gone) = (life.asked.unwrap(), life.over.unwrap(), life.gone.unwrap());
        let verdict = life.verdict(&record, gateway.ports().traffic).unwrap();
        // Each of them was held for the floor and the bound, until the drain was over, and not while the pod
        // was there any longer.
        let websockets: Vec<_> = cut_websockets(&record).collect();
        assert_eq!(websockets.len(), 3, "websockets that were cut");
        let least = Duration::from_secs(FLOOR + BOUND);
        for cut in websockets.into_iter().chain([tcp]) {
            let held = cut.saturating_duration_since(asked);
            assert!(held + READING + verdict.lag >= least, "held for {held:?}");
            assert!(
                cut + READING + verdict.lag >= over,
                "cut before the drain was over"
            );
            let seen = gone + READING + verdict.lag;
            assert!(cut <= seen, "cut after the pod was gone");
        }
        // The drain was over when the bound was reached, and no later.
        assert_eq!(verdict.reason, Reason::WebsocketBound, "{verdict:?}");
        judgement::on_time(&verdict);

        let report = life.report().unwrap();
        let took = over.saturating_duration_since(asked);
        let words = Words::of(report);
        assert_eq!(words.reason, "capped", "{report}");
        // The line that says it is over comes after it is, on a busy machine long after.
        let said = words.after;
        assert!(said + READING >= least, "{report}");
        assert!(said <= took + LINE + verdict.lag, "{took:?}: {report}");
        // An idle connection may be left too; it is one of the clients', and no more than they have.
        let idle = mix.keep_alive + mix.sparse;
        assert!((4..=4 + idle).contains(&words.connections), "{report}");
        assert_eq!(words.not_http, 1, "{report}");
        assert_eq!((words.requests, words.upgrades), (0, 3), "{report}");
        assert!(report.contains("0.0.0.0_8001=1"), "{report}");
        measured(report);
    });
}

/// When the websockets were cut that their clients never end.
fn cut_websockets(record: &Record) -> impl Iterator<Item = Instant> {
    let cut = |request: &&Request| request.outcome == Outcome::Cut;
    record.requests.iter().filter(cut).map(|it| it.ended)
}

/// The figures of a report.
struct Words {
    reason: String,
    after: Duration,
    connections: usize,
    not_http: usize,
    requests: usize,
    upgrades: usize,
}

impl Words {
    /// Of `envoy: REASON after N s: ...; left open: N connections, of them N not HTTP, with N requests and N
    /// upgrades (...)`.
    fn of(report: &str) -> Self {
        let (_, words) = report.split_once("envoy: ").unwrap();
        let (reason, words) = words.split_once(" after ").unwrap();
        let (after, words) = words.split_once(" s: ").unwrap();
        let (_, left) = words.split_once("; left open: ").unwrap();
        let before = |word: &str| {
            let (before, _) = left.split_once(word).unwrap();
            let figure = before.rsplit(' ').next().unwrap();
            figure.parse().unwrap()
        };
        Self {
            reason: reason.to_owned(),
            after: Duration::from_secs_f64(after.parse().unwrap()),
            connections: before(" connections"),
            not_http: before(" not HTTP"),
            requests: before(" requests"),
            upgrades: before(" upgrades"),
        }
    }
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
