//! How much memory the managers of a gateway take.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

use super::shape::CONTAINER;
use crate::stage::{Container, Deployed, Life, Witness};

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(500);

/// The memory of the largest of some managers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    bytes: u64,
}

impl Memory {
    /// What the managers of pods take now.
    pub(super) fn of(lives: &[Life]) -> Self {
        let containers = lives.iter().filter_map(|life| life.container(CONTAINER));
        let resident = containers
            .filter_map(|status| Container::of(status).ok())
            .map(|container| container.resident());
        Self {
            bytes: resident.max().unwrap_or_default(),
        }
    }

    /// Nothing where there was no manager.
    pub(super) fn bytes(self) -> Option<u64> {
        (self.bytes > 0).then_some(self.bytes)
    }
}

/// A look at the managers of a gateway every now and then.
pub(super) struct Sampler {
    stop: oneshot::Sender<()>,
    peak: JoinHandle<Memory>,
}

/// Looks from now on.
pub(super) fn sample(gateway: &Deployed<'_>) -> Sampler {
    let (stop, stopped) = oneshot::channel();
    let peak = tokio::spawn(look(gateway.witness(), stopped));
    Sampler { stop, peak }
}

impl Sampler {
    /// The most that was seen.
    pub(super) async fn stop(self) -> Result<Memory> {
        drop(self.stop);
        self.peak.await.context("the look at memory panicked")
    }
}

async fn look(witness: std::sync::Arc<Witness>, mut stopped: oneshot::Receiver<()>) -> Memory {
    let mut peak = Memory::default();
    loop {
        tokio::select! {
            _ = &mut stopped => return peak,
            () = sleep(POLL) => {}
        }
        let mut lives = witness.lives();
        lives.retain(|life| life.gone.is_none());
        peak.bytes = peak.bytes.max(Memory::of(&lives).bytes);
    }
}
