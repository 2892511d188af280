//! The drain of one Envoy, as a pure function: from a state, an observation and the time to a state
//! and an action. Clocks and sockets stay outside.
//!
//! Times are [`Duration`]s since the hook came, by a monotonic clock.

mod plan;
mod process;
mod state;
mod wait;

pub use plan::{Plan, TellListeners, WaitFor};
pub use state::Drain;

use std::time::Duration;

use crate::reading::{Arrived, Open};

/// What to do next. One thing at a time: whoever drives a drain does it and steps again with what
/// came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask or tell Envoy, and step with the answer; at the bound at the latest, then with
    /// [`Observation::Time`].
    Ask(Question),
    /// Step with [`Observation::Time`] when this time has come.
    Sleep(Duration),
    /// The drain is over. Nothing follows.
    Finish(Outcome),
}

/// What to ask or tell Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// What process is it, and in which state?
    Server,
    /// `GET /ready`: is it still there, and still told?
    Ready,
    /// `POST /healthcheck/fail`
    FailHealthCheck,
    /// Is there a listener that does not follow the health check?
    Listeners,
    /// `POST /drain_listeners?graceful&skip_exit`
    DrainListeners,
    /// What is open and in flight?
    Gauges,
    /// What has come so far?
    Counters,
    /// What does the kernel know of this pod's connections?
    Sockets,
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Time passed, nothing else.
    Time,
    /// Envoy did as it was told.
    Told,
    /// An Envoy process.
    Server(Server),
    /// Whether a listener does not follow the health check.
    Listeners {
        /// At least one has `drain_type: MODIFY_ONLY`.
        modify_only: bool,
    },
    /// What is open.
    Gauges(Open),
    /// What has come.
    Counters(Arrived),
    /// Envoy's own readiness.
    Ready {
        /// It is ready, so that it was not told to drain.
        is_live: bool,
    },
    /// What the kernel knows.
    Sockets {
        /// Ports on which somebody listens, without our own.
        listening: u64,
        /// Open connections on them.
        open: u64,
        /// Connections seen so far: the figure means nothing but when it differs from an earlier one.
        arrived: u64,
    },
    /// Nobody listens at the admin's address.
    Refused,
    /// Envoy answers, but its configuration hides the stats.
    Hidden,
    /// Anything else that is no answer.
    Unknown,
}

/// An Envoy process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Whether it has served, or serves.
    pub is_live: bool,
    /// Whether its health check was not failed.
    pub is_ready: bool,
    /// Earliest and latest moment at which it may have started, in seconds of the system's clock,
    /// the one that Envoy itself uses: it holds when that clock is set.
    pub started: (i64, i64),
    /// `--restart-epoch`.
    pub restart_epoch: u64,
    /// Major and minor version, where known.
    pub version: Option<(u32, u32)>,
    /// `--drain-time-s`, where known.
    pub drain_time: Option<Duration>,
}

/// Where a drain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// `drain-delay`: Envoy is not told yet.
    Delay,
    /// Envoy is being told.
    Notify,
    /// Others need time to learn.
    Floor,
    /// Until nothing is left that counts.
    Wait,
    /// Over.
    Done,
}

/// Why a drain is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No more connections than `min-open-connections` are open.
    Drained,
    /// Idle connections are open, and nothing that a client could miss.
    Quiet,
    /// Only upgrades and TCP connections were left, for `upgrade-timeout`.
    Capped,
    /// The bound was reached.
    Timeout,
    /// Envoy ended by itself, or was never there.
    EnvoyGone,
}

/// Where the figures of a drain come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Envoy's admin interface.
    Admin,
    /// The kernel's table of connections: connections are seen, requests are not.
    Sockets,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why.
    pub reason: Reason,
    /// When, since the hook.
    pub after: Duration,
    /// What was left; `None` where that is unknown.
    pub left: Option<Open>,
    /// Where the figures come from.
    pub source: Source,
    /// The reason in words.
    pub words: &'static str,
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Notify => "notify",
            Self::Floor => "floor",
            Self::Wait => "wait",
            Self::Done => "done",
        }
    }
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Drained,
        Self::Quiet,
        Self::Capped,
        Self::Timeout,
        Self::EnvoyGone,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Quiet => "quiet",
            Self::Capped => "capped",
            Self::Timeout => "timeout",
            Self::EnvoyGone => "envoy-gone",
        }
    }

    /// Whether nothing was left that counts.
    pub fn is_drained(self) -> bool {
        matches!(self, Self::Drained | Self::Quiet)
    }
}

impl Source {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Sockets => "sockets",
        }
    }
}

impl Question {
    /// The word for it, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server_info",
            Self::Ready => "ready",
            Self::FailHealthCheck => "healthcheck_fail",
            Self::Listeners => "listeners",
            Self::DrainListeners => "drain_listeners",
            Self::Gauges => "gauges",
            Self::Counters => "counters",
            Self::Sockets => "sockets",
        }
    }
}

#[cfg(test)]
mod edges;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
