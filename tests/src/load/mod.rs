//! A mixed load of correct clients that never retry.
//!
//! # What a correct client does
//!
//! A drain is judged by what clients see, so the clients must be neither forgiving nor at fault:
//!
//! * **It never retries.** A request that was written, in part or completely, and whose answer did
//!   not come back completely is a failure, whatever the reason. Real clients may retry what is
//!   idempotent; here nothing hides a loss. That also holds for HTTP/2 streams beyond the last
//!   stream of a GOAWAY, which RFC 9113 (6.8) would allow to be sent again.
//! * **It does not write where it knows that nobody reads.** A kept-alive connection of which the
//!   end (FIN or RST) has been read *before* a request is written is replaced by a new one. Every
//!   pool does so, and it is not a failure (RFC 9112, 9.3.1 and 9.5). The race is a failure all
//!   the same: where the request had left before the end arrived, it is lost and counts.
//! * **It honours `Connection: close` and GOAWAY**: after such an answer the connection takes no
//!   further request. The answers that are still on their way over HTTP/2 are waited for.
//! * **A new connection is not replaced.** Where a fresh connection is refused, or ends before its
//!   first answer, a user would have seen an error; so it is one.
//! * **An endpoint is chosen per connection, when it is made**, as kube-proxy does; a connection
//!   stays where it is, whatever the balancer learns later.
//! * **An error status is a failure.** The upstream answers 200 to everything; a 503 is Envoy's.
//!
//! A websocket that its client never ends is special: no drain can wait for its end. It is counted
//! apart ([`Outcome::Cut`]), while websocket sessions that do end count as requests.
//!
//! # The mix
//!
//! [`Mix::standard`] makes about 245 requests per second out of short connections, busy, sparse and
//! idle kept-alive ones, slow requests, streams, HTTP/2 and websockets.

mod attempt;
mod clients;
mod health;
mod http1;
mod http2;
mod record;
mod upstream;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use attempt::{try_http2, try_websocket};
pub use health::{HealthChecks, serves};
pub use http1::{ASK, Ask, SERVED_BY};
pub use record::{Arrival, Count, Failure, Kind, Lag, Outcome, Record, Recorder, Request};
pub use upstream::Upstream;

/// How long a client waits for an answer before it counts the request as lost. Longer than the
/// longest answer of the mix (8 s) by far, so that a busy machine is not taken for a lost request.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where a new connection goes.
pub trait Balancer: Send + Sync + 'static {
    /// Chooses the endpoint of one new connection; none where no endpoint is known.
    fn choose(&self) -> Option<SocketAddr>;
}

/// A fixed address, such as that of a Service, which balances by itself.
impl Balancer for SocketAddr {
    fn choose(&self) -> Option<SocketAddr> {
        Some(*self)
    }
}

/// What the requests look like.
#[derive(Clone, Debug)]
pub struct Target {
    /// The `Host` of every request.
    pub host: String,
    /// The path of every request, beginning with `/`.
    pub path: String,
}

impl Default for Target {
    fn default() -> Self {
        Target {
            host: "gateway.test".to_owned(),
            path: "/".to_owned(),
        }
    }
}

/// How many clients of each sort there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    /// Clients that make a new connection for each of 12 requests per second.
    pub short: usize,
    /// Clients that send 12 requests per second on one connection.
    pub keep_alive: usize,
    /// Clients that send a request every 0.2 to 3 s on one connection.
    pub sparse: usize,
    /// Clients that leave a connection idle for 20 to 60 s before they use it again.
    pub idle: usize,
    /// Clients that send requests of 2 to 8 s one after the other.
    pub slow: usize,
    /// Clients that read streams of 2 to 8 s one after the other.
    pub stream: usize,
    /// HTTP/2 connections, each with 20 quick requests per second and two slow streams.
    pub http2: usize,
    /// Clients that hold websocket sessions of 2 to 8 s one after the other.
    pub websocket: usize,
    /// Clients that hold a websocket for ever and open another when it was cut.
    pub endless_websocket: usize,
}

impl Mix {
    /// About 245 requests per second of all sorts, without a websocket that never ends.
    pub fn standard() -> Self {
        Mix {
            short: 5,
            keep_alive: 8,
            sparse: 12,
            idle: 10,
            slow: 8,
            stream: 6,
            http2: 4,
            websocket: 2,
            endless_websocket: 0,
        }
    }

    /// About 80 requests per second, of all sorts too: for many gateways on one machine.
    pub fn small() -> Self {
        Mix {
            short: 2,
            keep_alive: 2,
            sparse: 4,
            idle: 4,
            slow: 3,
            stream: 2,
            http2: 1,
            websocket: 1,
            endless_websocket: 0,
        }
    }

    /// How many requests its clients have in flight at most: one after the other on most connections, and on
    /// one of HTTP/2 its streams, and the quick ones of a second.
    pub fn at_once(&self) -> usize {
        let one_each = self.short
            + self.keep_alive
            + self.sparse
            + self.idle
            + self.slow
            + self.stream
            + self.websocket;
        one_each + self.http2 * (clients::STREAMS + clients::QUICK_HTTP2 as usize)
    }

    /// How many of these take seconds.
    pub fn long_at_once(&self) -> usize {
        self.slow + self.stream + self.http2 * clients::STREAMS + self.websocket
    }

    /// How many connections its clients make in a second for no other reason than their habit.
    pub fn connections_a_second(&self) -> f64 {
        (self.short * clients::QUICK as usize) as f64
    }

    /// Whether any client speaks websocket.
    pub fn has_websockets(&self) -> bool {
        self.websocket + self.endless_websocket > 0
    }
}

/// A load that is going on.
pub struct Load {
    recorder: Arc<Recorder>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients of `mix`. They go on until [`Load::stop`].
    pub fn start(balancer: Arc<dyn Balancer>, target: &Target, mix: Mix) -> Self {
        let recorder = Recorder::new();
        let (stop, stopped) = watch::channel(false);
        let clients = clients::spawn(
            &clients::Surroundings {
                balancer,
                target: Arc::new(target.clone()),
                recorder: Arc::clone(&recorder),
                stopped,
            },
            mix,
        );
        Load {
            recorder,
            stop,
            clients,
        }
    }

    /// The record, which grows while the load goes on.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Lets every client finish the request that it is at, and gives what they all saw.
    pub async fn stop(mut self) -> Record {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        self.recorder.record()
    }
}
