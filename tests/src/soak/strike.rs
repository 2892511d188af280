//! Faults, and whether they came in time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::sleep;

use super::Fault;
use crate::{
    stage::{Deployed, Life},
    wait::until,
};

const SIDECAR: &str = "shutdown-manager";

/// What befell a pod that was draining.
#[derive(Clone, Debug)]
pub(super) struct Strike {
    /// Which.
    pub(super) pod: String,
    /// When.
    pub(super) at: Instant,
    /// Whether there was anything left to befall.
    reached: bool,
}

impl Strike {
    /// Whether it came when the drain was over, by what became of the pod.
    pub(super) fn came_too_late(&self, life: &Life) -> bool {
        !self.reached || life.over.is_some_and(|over| over <= self.at)
    }
}

/// Lets happen what happens before pods are told to end. It goes on until what is returned is dropped.
pub(super) async fn before(
    deployed: &Deployed<'_>,
    victim: &str,
    fault: Fault,
) -> Result<Option<Busy>> {
    match fault {
        Fault::SidecarKilledBefore => kill_sidecar(deployed, victim).await.map(|()| None),
        Fault::CoresBusy { length } => Ok(Some(Busy::start(length))),
        _ => Ok(None),
    }
}

/// Lets happen what happens during a drain: to the first pod that was told to end since `began`.
pub(super) async fn during(
    deployed: &Deployed<'_>,
    began: Instant,
    fault: Fault,
) -> Result<Option<Strike>> {
    let (after, container, signal, length) = match fault {
        Fault::SidecarHangs { after, length } => (after, SIDECAR, Signal::STOP, length),
        Fault::EnvoyHangs { after, length } => (after, "envoy", Signal::STOP, length),
        Fault::SidecarKilledInDrain { after } => (after, SIDECAR, Signal::KILL, Duration::ZERO),
        Fault::EnvoyKilledInDrain { after } => (after, "envoy", Signal::KILL, Duration::ZERO),
        Fault::None | Fault::SidecarKilledBefore | Fault::CoresBusy { .. } => return Ok(None),
    };
    let pod = first_to_end(deployed, began).await?;
    let deleted = pod.deleted.unwrap_or(began);
    sleep((deleted + after).saturating_duration_since(Instant::now())).await;
    let container = deployed.container(pod.name(), container)?;
    let at = Instant::now();
    // It may have ended already.
    let reached = container.signal(signal).is_ok();
    if signal == Signal::STOP {
        sleep(length).await;
        // What was killed meanwhile does not hang any more.
        let _ = container.signal(Signal::CONT);
    }
    let pod = pod.name().to_owned();
    Ok(Some(Strike { pod, at, reached }))
}

/// The first pod that was told to end since a moment.
pub(super) async fn first_to_end(deployed: &Deployed<'_>, since: Instant) -> Result<Life> {
    until("a pod is told to end", async || {
        let lives = deployed.lives().into_iter();
        let ending = lives.filter(|life| life.deleted.is_some_and(|at| at >= since));
        ending.min_by_key(|life| life.deleted)
    })
    .await
}

/// Kills the sidecar of a pod and waits until it is back.
async fn kill_sidecar(deployed: &Deployed<'_>, pod: &str) -> Result<()> {
    let restarts = || {
        let life = deployed.life(pod).ok()?;
        let container = life.container(SIDECAR)?;
        let running = container.state.as_ref()?.running.is_some();
        running.then_some(container.restart_count)
    };
    let before = restarts();
    deployed.container(pod, SIDECAR)?.signal(Signal::KILL)?;
    until("the sidecar is back", async || {
        restarts().filter(|now| Some(*now) > before)
    })
    .await?;
    Ok(())
}

/// Keeps every core busy until a time has passed or it is dropped.
pub(super) struct Busy {
    over: Arc<AtomicBool>,
}

impl Busy {
    fn start(length: Duration) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let end = Instant::now() + length;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) && Instant::now() < end {
                    std::hint::spin_loop();
                }
            });
        }
        Self { over }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
