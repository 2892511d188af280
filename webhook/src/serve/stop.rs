//! The three phases of the server's life, and who tells of them.
//!
//! The API server keeps connections to webhooks open and does not send a POST again that met a
//! closing one (kubernetes #82090, #127335). So a server that was asked to end goes on serving while
//! the word spreads that its pod is not ready, and tells each client with an answer
//! (`Connection: close`) that this connection is over. What is left open after that was silent for
//! all of that time, and is closed once it was silent for long enough.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// The phases, in their order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    /// As always.
    Serving,
    /// Not ready any more; new connections and requests are still served, each answer is the last
    /// of its connection.
    Leaving,
    /// No new connections; silent ones are closed, requests under way are answered.
    Closing,
}

/// The side that decides about the stage.
#[derive(Debug)]
pub(super) struct Stop(watch::Sender<Stage>);

/// The side that asks.
#[derive(Clone, Debug)]
pub(super) struct Stopping(watch::Receiver<Stage>);

/// How long each stage lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Farewell {
    /// Of [`Stage::Leaving`].
    pub(super) leave: Duration,
    /// Of [`Stage::Closing`], at most.
    pub(super) close: Duration,
}

/// The signals that ask for an end: Kubernetes sends SIGTERM, a terminal SIGINT.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn new() -> (Self, Stopping) {
        let (sender, receiver) = watch::channel(Stage::Serving);
        (Self(sender), Stopping(receiver))
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.0.send_replace(stage);
    }
}

impl Stopping {
    pub(super) fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Returns once `stage` has come, or whoever decides about it is gone.
    pub(super) async fn reached(&mut self, stage: Stage) {
        // An error means that the sender was dropped: the end as well.
        let _ = self.0.wait_for(|now| *now >= stage).await;
    }
}

impl Signals {
    /// # Errors
    ///
    /// Where the process may not handle signals.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
