//! When to leave.
//!
//! SIGTERM comes to us because the pod ends, or because we alone are restarted; from inside one
//! cannot tell. So nothing follows from it for Envoy: a drain that runs is finished first, and where
//! none runs a hook may still be on its way for a moment.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tracing::{info, warn};

use crate::group::Group;

/// How long a hook may come after our own SIGTERM: the kubelet stops the containers of a pod side by
/// side.
const LINGER: Duration = Duration::from_secs(3);

/// SIGTERM and SIGINT. Both must be caught: the first process of a container has no defaults.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    ///
    /// Where the system does not let us.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when it is time to leave.
    pub(crate) async fn time_to_leave(mut self, group: &Group) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        // A second ctrl-c is a person who does not want to wait. A second SIGTERM is nobody: it
        // must not cost a drain.
        tokio::select! {
            () = leave(group) => {}
            _ = self.interrupt.recv() => warn!("interrupted twice: leaving at once"),
        }
    }
}

async fn leave(group: &Group) {
    if group.is_draining() {
        info!("told to stop during a drain: finishing it first");
    } else {
        info!("told to stop while no drain runs: Envoy is left alone");
        if timeout(LINGER, hook_or_gone(group)).await.is_err() {
            return;
        }
    }
    group.finished().await;
}

/// Returns when a drain has begun, or when Envoy is gone.
async fn hook_or_gone(group: &Group) {
    tokio::select! {
        () = group.begun() => {}
        () = group.gone(|_| true) => {}
    }
}
