//! What the load generator saw: every connection it opened and every request it sent.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a client was doing when it sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A connection of its own for one request.
    Short,
    /// A kept-alive connection with a request every few hundred milliseconds.
    KeepAlive,
    /// A kept-alive connection with gaps of up to three seconds.
    Sparse,
    /// A pooled connection that was idle for up to a minute before it was used again.
    Idle,
    /// A request that takes seconds to be answered.
    Slow,
    /// An answer that goes on for seconds.
    Stream,
    /// One of many requests at once on an HTTP/2 connection.
    Http2,
    /// A stream of seconds on an HTTP/2 connection that others use at the same time.
    Http2Stream,
    /// A websocket session of a few seconds, ended by the client.
    WebSocket,
    /// A websocket that its client never ends.
    EndlessWebSocket,
    /// A load balancer's health check of one pod. It never counts as a request of a client.
    HealthCheck,
}

impl Kind {
    /// Every kind that counts as a client's request, in the order of tables.
    pub const CLIENTS: [Kind; 9] = [
        Kind::Short,
        Kind::KeepAlive,
        Kind::Sparse,
        Kind::Idle,
        Kind::Slow,
        Kind::Stream,
        Kind::Http2,
        Kind::Http2Stream,
        Kind::WebSocket,
    ];

    /// Whether it takes seconds.
    pub fn is_long(self) -> bool {
        matches!(
            self,
            Kind::Slow | Kind::Stream | Kind::Http2Stream | Kind::WebSocket
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Short => "short",
            Kind::KeepAlive => "keep-alive",
            Kind::Sparse => "sparse",
            Kind::Idle => "idle pooled",
            Kind::Slow => "slow",
            Kind::Stream => "stream",
            Kind::Http2 => "HTTP/2",
            Kind::Http2Stream => "HTTP/2 stream",
            Kind::WebSocket => "websocket",
            Kind::EndlessWebSocket => "endless websocket",
            Kind::HealthCheck => "health check",
        })
    }
}

/// How a request failed, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The balancer knew no endpoint.
    NoEndpoint,
    /// The connection was refused.
    Refused,
    /// The connection could not be made in time, or for another reason.
    Unreachable(String),
    /// The request was written and the connection ended without an answer.
    Unanswered(String),
    /// The answer began and did not end.
    Truncated(String),
    /// Answered with a status other than the expected one.
    Status(u16),
    /// Neither an answer nor an end within [`PATIENCE`](super::PATIENCE).
    TimedOut,
}

impl Failure {
    /// The kind of failure in one or two words, without its detail.
    pub fn label(&self) -> &'static str {
        match self {
            Failure::NoEndpoint => "no endpoint",
            Failure::Refused => "refused",
            Failure::Unreachable(_) => "unreachable",
            Failure::Unanswered(_) => "unanswered",
            Failure::Truncated(_) => "truncated",
            Failure::Status(_) => "error status",
            Failure::TimedOut => "timed out",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(why) | Failure::Unanswered(why) | Failure::Truncated(why) => {
                write!(f, "{} ({why})", self.label())
            }
            Failure::Status(status) => write!(f, "status {status}"),
            _ => f.write_str(self.label()),
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered completely.
    Answered,
    /// Not answered, or wrongly: what a rollout must never cause.
    Failed(Failure),
    /// A websocket without an end was ended by the other side. No drain can wait for the end of
    /// what never ends, so this is counted apart from the failures.
    Cut,
}

/// One request of one client.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the client was doing.
    pub kind: Kind,
    /// The endpoint of its connection; none where there was no connection to be had.
    pub endpoint: Option<SocketAddr>,
    /// When the client began to connect or, on a connection that was there, to write.
    pub sent: Instant,
    /// When the last byte of the answer was read, or when it had failed.
    pub ended: Instant,
    /// How it ended.
    pub outcome: Outcome,
}

impl Request {
    /// The failure, where it failed.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Answered | Outcome::Cut => None,
        }
    }
}

/// One connection that an endpoint accepted.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The endpoint that accepted it.
    pub endpoint: SocketAddr,
    /// When the client knew that it was accepted.
    pub at: Instant,
    /// What the connection was for.
    pub kind: Kind,
}

/// A moment at which the clients came late, for want of a processor.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    /// When they came.
    pub at: Instant,
    /// How late that was.
    pub by: Duration,
}

/// Everything that was seen from the start of a load to its end.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the load began.
    pub started: Instant,
    /// Every request, in the order in which they ended.
    pub requests: Vec<Request>,
    /// Every accepted connection, in order.
    pub arrivals: Vec<Arrival>,
    /// Kept-alive connections that were found closed before a request was written on them, and
    /// were replaced. This is HTTP working as designed.
    pub replaced: u64,
    /// When the clients themselves were late, in order.
    pub lags: Vec<Lag>,
}

impl Record {
    /// The requests of clients: all but health checks and the websockets without an end.
    pub fn client_requests(&self) -> impl Iterator<Item = &Request> {
        self.requests
            .iter()
            .filter(|request| !matches!(request.kind, Kind::HealthCheck | Kind::EndlessWebSocket))
    }

    /// The requests of clients that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&Request, &Failure)> {
        self.client_requests()
            .filter_map(|request| Some((request, request.failure()?)))
    }

    /// How late the clients were at most between two moments: so much later than it was they may have taken
    /// something down.
    pub fn lag(&self, from: Instant, to: Instant) -> Duration {
        let lags = self.lags.iter();
        let then = lags.filter(|lag| lag.at >= from && lag.at - lag.by <= to);
        then.map(|lag| lag.by).max().unwrap_or_default()
    }

    /// How many websockets without an end were ended by the other side.
    pub fn cut(&self) -> usize {
        self.requests
            .iter()
            .filter(|request| request.outcome == Outcome::Cut)
            .count()
    }

    /// A line per failed request: when, what, where, how.
    pub fn describe_failures(&self) -> Vec<String> {
        self.failures()
            .map(|(request, failure)| {
                let endpoint = request
                    .endpoint
                    .map_or_else(|| "-".to_owned(), |endpoint| endpoint.to_string());
                format!(
                    "{:7.3}s {} at {endpoint} sent {:.3}s before: {failure}",
                    (request.ended - self.started).as_secs_f64(),
                    request.kind,
                    (request.ended - request.sent).as_secs_f64(),
                )
            })
            .collect()
    }
}

/// Takes down what the clients see, while they see it.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    log: Mutex<Log>,
    answered: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Log {
    requests: Vec<Request>,
    arrivals: Vec<Arrival>,
    replaced: u64,
    lags: Vec<Lag>,
}

/// A count of what was seen so far, for progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests of clients that were answered.
    pub answered: u64,
    /// Requests of clients that failed.
    pub failed: u64,
}

impl Recorder {
    /// An empty record that starts now.
    pub fn new() -> Arc<Self> {
        Arc::new(Recorder {
            started: Instant::now(),
            log: Mutex::default(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// A connection was accepted by `endpoint`. What is returned says which arrival it was.
    pub fn arrived(&self, endpoint: SocketAddr, kind: Kind) -> usize {
        let at = Instant::now();
        self.with(|log| {
            log.arrivals.push(Arrival { endpoint, at, kind });
            log.arrivals.len() - 1
        })
    }

    /// It turned out that an arrival was accepted by another endpoint than the one that it was sent
    /// to: something in between has balanced.
    pub fn accepted_by(&self, arrival: usize, endpoint: SocketAddr) {
        self.with(|log| {
            if let Some(arrival) = log.arrivals.get_mut(arrival) {
                arrival.endpoint = endpoint;
            }
        });
    }

    /// A kept-alive connection was found closed before a request was written.
    pub fn replaced(&self) {
        self.with(|log| log.replaced += 1);
    }

    /// The clients came late just now.
    pub fn lagged(&self, by: Duration) {
        let at = Instant::now();
        self.with(|log| log.lags.push(Lag { at, by }));
    }

    /// A request ended just now.
    pub fn ended(&self, kind: Kind, endpoint: Option<SocketAddr>, sent: Instant, outcome: Outcome) {
        if !matches!(kind, Kind::HealthCheck | Kind::EndlessWebSocket) {
            match outcome {
                Outcome::Answered => self.answered.fetch_add(1, Ordering::Relaxed),
                Outcome::Failed(_) => self.failed.fetch_add(1, Ordering::Relaxed),
                Outcome::Cut => 0,
            };
        }
        let ended = Instant::now();
        self.with(|log| {
            log.requests.push(Request {
                kind,
                endpoint,
                sent,
                ended,
                outcome,
            })
        });
    }

    /// What was counted so far.
    pub fn count(&self) -> Count {
        Count {
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// How long this record has been going on.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A copy of what was seen so far.
    pub fn record(&self) -> Record {
        self.record_since(self.started)
    }

    /// A copy of what was seen since a moment: requests that ended then, connections that were accepted.
    pub fn record_since(&self, moment: Instant) -> Record {
        self.with(|log| {
            let requests = log.requests.partition_point(|it| it.ended < moment);
            let arrivals = log.arrivals.partition_point(|it| it.at < moment);
            let lags = log.lags.partition_point(|it| it.at < moment);
            Record {
                started: self.started,
                requests: log.requests[requests..].to_vec(),
                arrivals: log.arrivals[arrivals..].to_vec(),
                replaced: log.replaced,
                lags: log.lags[lags..].to_vec(),
            }
        })
    }

    fn with<T>(&self, use_log: impl FnOnce(&mut Log) -> T) -> T {
        use_log(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
