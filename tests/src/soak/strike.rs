//! Faults, and whether they came in time.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tokio::{task::JoinHandle, time::sleep};

use super::Fault;
use crate::{
    stage::{Container, Deployed, Life, SIDECAR, Scene},
    wait::until,
};

/// The application of every pod that has no part in the traffic.
pub(super) const AGENT: &str = "agent";

/// What is left of a processor for those who are throttled, in microseconds of each tenth of a second: little
/// for an Envoy under load, and for the sidecar the least that the kernel can give.
const THROTTLED: [(&str, u32); 3] = [("envoy", 4_000), ("inner", 4_000), (SIDECAR, 1_000)];

/// What goes on until it is dropped.
pub(super) type Meanwhile = Box<dyn Any + Send>;

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

/// Lets happen what happens before pods are told to end.
pub(super) async fn before(
    deployed: &Deployed<'_>,
    victim: &str,
    fault: Fault,
) -> Result<Option<Meanwhile>> {
    let stop = |container: &Container| container.signal(Signal::STOP);
    match fault {
        Fault::SidecarKilledBefore => {
            let kill = |sidecar: &Container| sidecar.signal(Signal::KILL);
            restart(deployed, victim, SIDECAR, kill).await?;
        }
        Fault::SidecarOutOfMemoryBefore => {
            restart(deployed, victim, SIDECAR, Container::run_out_of_memory).await?;
        }
        Fault::SidecarProbeFails => restart(deployed, victim, SIDECAR, stop).await?,
        Fault::ApplicationProbeFails => restart(deployed, victim, AGENT, stop).await?,
        Fault::CoresBusy { length } => return Ok(Some(Box::new(Busy::start(length)))),
        Fault::Throttled { length } => {
            let throttling = Throttling::start(deployed, length).await?;
            return Ok(Some(Box::new(throttling)));
        }
        Fault::None
        | Fault::WebhookRolled
        | Fault::SidecarHangs { .. }
        | Fault::EnvoyHangs { .. }
        | Fault::SidecarKilledInDrain { .. }
        | Fault::SidecarOutOfMemoryInDrain { .. }
        | Fault::EnvoyKilledInDrain { .. } => {}
    }
    Ok(None)
}

/// How a container is struck.
enum Blow {
    Kill,
    OutOfMemory,
    Hang(Duration),
}

/// Lets happen what happens while pods end: to the first pod that was told to end since `began`, or to the
/// webhook.
pub(super) async fn during(
    scene: &Scene<'_>,
    deployed: &Deployed<'_>,
    began: Instant,
    fault: Fault,
) -> Result<Option<Strike>> {
    let (after, container, blow) = match fault {
        Fault::SidecarHangs { after, length } => (after, SIDECAR, Blow::Hang(length)),
        Fault::EnvoyHangs { after, length } => (after, "envoy", Blow::Hang(length)),
        Fault::SidecarKilledInDrain { after } => (after, SIDECAR, Blow::Kill),
        Fault::SidecarOutOfMemoryInDrain { after } => (after, SIDECAR, Blow::OutOfMemory),
        Fault::EnvoyKilledInDrain { after } => (after, "envoy", Blow::Kill),
        Fault::WebhookRolled => {
            scene.stage().roll_webhook().await?;
            return Ok(None);
        }
        _ => return Ok(None),
    };
    let pod = first_to_end(deployed, began).await?;
    let deleted = pod.deleted.unwrap_or(began);
    sleep((deleted + after).saturating_duration_since(Instant::now())).await;
    let container = deployed.container(pod.name(), container)?;
    let at = Instant::now();
    // It may have ended already.
    let reached = match blow {
        Blow::Kill => container.signal(Signal::KILL).is_ok(),
        Blow::OutOfMemory => container.run_out_of_memory().is_ok(),
        Blow::Hang(length) => {
            let reached = container.signal(Signal::STOP).is_ok();
            sleep(length).await;
            // What was killed meanwhile does not hang any more.
            let _ = container.signal(Signal::CONT);
            reached
        }
    };
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

/// Lets something happen to a container for which the kubelet starts it anew, and waits until it is back. That
/// drains nobody.
async fn restart(
    deployed: &Deployed<'_>,
    pod: &str,
    container: &str,
    happen: impl FnOnce(&Container) -> Result<()>,
) -> Result<()> {
    let restarts = || {
        let life = deployed.life(pod).ok()?;
        let container = life.container(container)?;
        let back = life.is_ready() && container.state.as_ref()?.running.is_some();
        back.then_some(container.restart_count)
    };
    let before = until("a pod that is ready", async || restarts()).await?;
    happen(&deployed.container(pod, container)?)?;
    let what = format!("{container} of {pod} is back");
    until(&what, async || restarts().filter(|now| *now > before)).await?;
    let life = deployed.life(pod)?;
    let drained = life.asked.is_some() && life.deleted.is_none();
    ensure!(
        !drained,
        "a restart of {container} has drained {pod}: {:#?}",
        life.log
    );
    Ok(())
}

/// Keeps all Envoys and sidecars of a gateway from the processors until a time has passed or it is dropped.
struct Throttling(JoinHandle<()>);

impl Throttling {
    async fn start(deployed: &Deployed<'_>, length: Duration) -> Result<Self> {
        let mut limits = Vec::new();
        for pod in deployed.pods().await? {
            let pod = pod.metadata.name.unwrap_or_default();
            for (container, quota) in THROTTLED {
                // Not every pod has two Envoys.
                if let Ok(container) = deployed.container(&pod, container) {
                    limits.push(container.limit_cpu(quota)?);
                }
            }
        }
        ensure!(!limits.is_empty(), "there is nobody to be throttled");
        Ok(Self(tokio::spawn(async move {
            sleep(length).await;
            drop(limits);
        })))
    }
}

impl Drop for Throttling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps every core busy until a time has passed or it is dropped.
struct Busy {
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
