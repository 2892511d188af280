//! The habits of the clients: how often each sends what.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::http1::{Ask, Http1};
use super::http2::Http2;
use super::record::{Kind, Recorder};
use super::websocket::WebSocket;
use super::{Balancer, Mix, Target};

/// Requests a second of a busy client.
pub(super) const QUICK: u64 = 12;
/// The pace of a busy client.
const BUSY: Duration = Duration::from_millis(1000 / QUICK);
/// Quick requests a second on one HTTP/2 connection.
pub(super) const QUICK_HTTP2: u64 = 20;
/// The pace of these.
const BUSY_HTTP2: Duration = Duration::from_millis(1000 / QUICK_HTTP2);
/// Slow streams beside them.
pub(super) const STREAMS: usize = 2;
/// The gaps of a sparse client, in seconds.
const SPARSE: Range<f64> = 0.2..3.0;
/// How long a pooled connection lies idle, in seconds.
const IDLE: Range<f64> = 20.0..60.0;
/// How long a slow request, a stream or a websocket session takes, in seconds.
const SLOW: Range<f64> = 2.0..8.0;
/// How often the clients look at the clock, and how late they may be without a word.
const TICK: Duration = Duration::from_millis(20);
const WORTH_A_WORD: Duration = Duration::from_millis(20);
/// A pause between two slow requests, in seconds, so that their ends do not fall into step.
const BREATH: Range<f64> = 0.05..0.3;

/// What every client needs.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) balancer: Arc<dyn Balancer>,
    pub(super) target: Arc<Target>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Surroundings {
    /// Waits until the load is over.
    pub(super) async fn over(&mut self) {
        // An error means that the load was dropped, which is also its end.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    /// Sleeps for so long, or until the load is over: false then.
    pub(super) async fn pause(&mut self, length: Duration) -> bool {
        tokio::select! {
            () = sleep(length) => true,
            () = self.over() => false,
        }
    }
}

/// Starts every client of the mix.
pub(super) fn spawn(surroundings: &Surroundings, mix: Mix) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    clients.spawn(look_at_the_clock(surroundings.clone()));
    for _ in 0..mix.short {
        clients.spawn(short(surroundings.clone()));
    }
    for _ in 0..mix.keep_alive {
        clients.spawn(busy(surroundings.clone()));
    }
    for _ in 0..mix.sparse {
        clients.spawn(with_gaps(surroundings.clone(), Kind::Sparse, SPARSE));
    }
    for _ in 0..mix.idle {
        clients.spawn(with_gaps(surroundings.clone(), Kind::Idle, IDLE));
    }
    for _ in 0..mix.slow {
        clients.spawn(one_after_the_other(surroundings.clone(), Kind::Slow));
    }
    for _ in 0..mix.stream {
        clients.spawn(one_after_the_other(surroundings.clone(), Kind::Stream));
    }
    for _ in 0..mix.http2 {
        spawn_http2(surroundings, &mut clients);
    }
    for _ in 0..mix.websocket {
        clients.spawn(websocket_sessions(surroundings.clone()));
    }
    for _ in 0..mix.endless_websocket {
        clients.spawn(WebSocket::new(surroundings.clone()).hold_for_ever());
    }
    clients
}

/// A length of time drawn evenly from a range of seconds.
fn draw(range: &Range<f64>) -> Duration {
    Duration::from_secs_f64(range.start + fastrand::f64() * (range.end - range.start))
}

/// Ticks at an even pace from a random moment within the first tick on. Ticks that were missed
/// while a request took longer than the pace are left out: a client with one connection cannot
/// send two requests at once.
fn pace(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + every.mul_f64(fastrand::f64()), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Takes down where the clients themselves come late, since the machine is busy: what they saw was earlier
/// then than they say.
async fn look_at_the_clock(mut surroundings: Surroundings) {
    loop {
        let due = Instant::now() + TICK;
        if !surroundings.pause(TICK).await {
            return;
        }
        let late = due.elapsed();
        if late >= WORTH_A_WORD {
            surroundings.recorder.lagged(late);
        }
    }
}

async fn short(mut surroundings: Surroundings) {
    let mut ticks = pace(BUSY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = surroundings.over() => return,
        }
        let mut client = Http1::new(surroundings.clone());
        client.send(Kind::Short, Ask::Last).await;
    }
}

async fn busy(mut surroundings: Surroundings) {
    let mut ticks = pace(BUSY);
    let mut client = Http1::new(surroundings.clone());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = surroundings.over() => return,
        }
        client.send(Kind::KeepAlive, Ask::Quick).await;
    }
}

async fn with_gaps(mut surroundings: Surroundings, kind: Kind, gaps: Range<f64>) {
    let mut client = Http1::new(surroundings.clone());
    loop {
        client.send(kind, Ask::Quick).await;
        if !surroundings.pause(draw(&gaps)).await {
            return;
        }
    }
}

async fn one_after_the_other(mut surroundings: Surroundings, kind: Kind) {
    let mut client = Http1::new(surroundings.clone());
    while surroundings.pause(draw(&BREATH)).await {
        let length = draw(&SLOW);
        let ask = if kind == Kind::Stream {
            Ask::Stream(length)
        } else {
            Ask::Slow(length)
        };
        client.send(kind, ask).await;
    }
}

fn spawn_http2(surroundings: &Surroundings, clients: &mut JoinSet<()>) {
    let connection = Arc::new(Http2::new(surroundings.clone()));
    for _ in 0..STREAMS {
        let connection = Arc::clone(&connection);
        let mut surroundings = surroundings.clone();
        clients.spawn(async move {
            while surroundings.pause(draw(&BREATH)).await {
                connection
                    .send(Kind::Http2Stream, Ask::Stream(draw(&SLOW)))
                    .await;
            }
        });
    }
    let mut surroundings = surroundings.clone();
    clients.spawn(async move {
        let mut ticks = pace(BUSY_HTTP2);
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = surroundings.over() => break,
            }
            while under_way.try_join_next().is_some() {}
            let connection = Arc::clone(&connection);
            under_way.spawn(async move { connection.send(Kind::Http2, Ask::Quick).await });
        }
        under_way.join_all().await;
    });
}

async fn websocket_sessions(mut surroundings: Surroundings) {
    let client = WebSocket::new(surroundings.clone());
    while surroundings.pause(draw(&BREATH)).await {
        client.session(draw(&SLOW)).await;
    }
}
