//! How much memory the managers of a gateway take.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

use super::{Container, Life, Memory, Witness, life::SIDECAR};

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(500);

/// Looks at the managers of a gateway every now and then: the containers called `shutdown-manager`,
/// with the processes of their hooks.
#[derive(Debug)]
pub struct MemoryWatch {
    stop: oneshot::Sender<()>,
    most: JoinHandle<Memory>,
}

impl MemoryWatch {
    /// Looks from now on.
    pub(super) fn start(witness: Arc<Witness>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let most = tokio::spawn(look(witness, stopped));
        Self { stop, most }
    }

    /// The most that one of them had at any look.
    ///
    /// # Errors
    /// When the looking has panicked.
    pub async fn stop(self) -> Result<Memory> {
        drop(self.stop);
        self.most.await.context("the look at memory panicked")
    }
}

/// What the largest of the managers of these pods has in memory now; nothing without any.
pub(super) fn largest(lives: &[Life]) -> Memory {
    let containers = lives.iter().filter_map(|life| life.container(SIDECAR));
    let containers = containers.filter_map(|status| Container::of(status).ok());
    let each = containers.map(|container| container.memory());
    each.fold(Memory::default(), Memory::max)
}

async fn look(witness: Arc<Witness>, mut stopped: oneshot::Receiver<()>) -> Memory {
    let mut most = Memory::default();
    loop {
        tokio::select! {
            _ = &mut stopped => return most,
            () = sleep(POLL) => {}
        }
        let mut lives = witness.lives();
        lives.retain(|life| life.gone.is_none());
        most = most.max(largest(&lives));
    }
}
