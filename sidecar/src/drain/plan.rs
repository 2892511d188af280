//! How to drain.

use std::time::Duration;

/// How to drain one Envoy. Times are as the annotations and flags of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// When the wait is over.
    pub wait_for: WaitFor,
    /// Bound of the whole drain, delay and floor inside it.
    pub timeout: Duration,
    /// Before Envoy is told.
    pub delay: Duration,
    /// Floor: others need that long to learn that this pod ends.
    pub min_drain: Duration,
    /// How long nothing new may have arrived.
    pub quiet: Duration,
    /// How long no request may have been seen.
    pub idle_quiet: Duration,
    /// How long after the floor arrivals may hold up the end.
    pub arrivals_timeout: Duration,
    /// How long upgrades and TCP connections alone may hold up the end.
    pub upgrade_timeout: Duration,
    /// The classic loop's floor.
    pub check_delay: Duration,
    /// The classic loop's time between two looks.
    pub check_interval: Duration,
    /// Done when no more connections than this are open.
    pub min_open: u64,
    /// Whether to send `drain_listeners?graceful&skip_exit` too.
    pub tell_listeners: TellListeners,
    /// Whether the kernel's table of connections may be read where Envoy's stats cannot.
    pub sockets: bool,
}

/// When the wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// Nothing is left that a client could miss.
    Quiet,
    /// The classic loop: no more than so many connections are open.
    Connections,
}

/// Whether to tell listeners too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TellListeners {
    /// Where one does not follow the health check.
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            wait_for: WaitFor::Quiet,
            timeout: Duration::from_secs(300),
            delay: Duration::ZERO,
            min_drain: Duration::from_secs(5),
            quiet: Duration::from_secs(2),
            idle_quiet: Duration::from_secs(1),
            arrivals_timeout: Duration::from_secs(60),
            upgrade_timeout: Duration::from_secs(300),
            // These three are the documented defaults of Contour 1.2's shutdown-manager.
            check_delay: Duration::from_secs(60),
            check_interval: Duration::from_secs(5),
            min_open: 0,
            tell_listeners: TellListeners::Auto,
            sockets: true,
        }
    }
}

impl Plan {
    /// How long after Envoy was told the wait begins.
    pub fn floor(&self) -> Duration {
        match self.wait_for {
            WaitFor::Quiet => self.min_drain,
            WaitFor::Connections => self.check_delay,
        }
    }
}
