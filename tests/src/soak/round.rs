//! One round of a soak: pods come to their end, and something goes wrong.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kube::api::EvictParams;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{End, Fault, Round, Shape};
use crate::{
    cluster::Traffic,
    load::Request,
    stage::{Deployed, Gateway, Life, Scene},
    wait::until,
};

/// How long after a process was killed its pod may still be sent requests: the kubelet has to hear of
/// it, and then every kube-proxy. A connection that is sent to a pod that is gone stays unanswered for
/// as long as its client waits.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// How much earlier than the kill a client may take down that its request has failed, since two
/// threads look at the clock.
const CUT_BEFORE: Duration = Duration::from_millis(200);

/// Between two deletions of the same pod, and before a rollout is changed or undone.
const SOON: Duration = Duration::from_secs(2);

/// A moment at which a process was killed that had requests in flight.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    at: Instant,
    pod: SocketAddr,
    service: SocketAddr,
}

impl Cut {
    /// In this pod, now.
    ///
    /// # Errors
    /// When the pod has no address.
    pub fn now(gateway: &Deployed<'_>, pod: &str) -> Result<Self> {
        let address = gateway.life(pod)?.address();
        let address = address.with_context(|| format!("{pod} has no address"))?;
        Ok(Self {
            at: Instant::now(),
            pod: SocketAddr::new(address, gateway.ports().traffic),
            service: gateway.service(),
        })
    }

    /// Whether a request was lost by it: it was in flight in the pod at that moment, or was sent there
    /// before everybody knew. One that was never answered knows the Service alone.
    pub fn hit(&self, request: &Request) -> bool {
        let there = request.endpoint;
        (there == Some(self.pod) || there == Some(self.service))
            && request.sent <= self.at + CUT_WITHIN
            && request.ended + CUT_BEFORE >= self.at
    }
}

/// What came out of a round.
#[derive(Debug)]
pub struct Line {
    /// The round's number, from 1 on.
    pub number: usize,
    /// What was done.
    pub round: Round,
    /// For each pod that ended: seconds from the wish to the end.
    pub drains: Vec<f64>,
    /// For each drain that nobody cut: seconds from when it was due to its end, by what the clients saw.
    pub late: Vec<f64>,
    /// When a process with requests in flight was killed.
    pub cut: Option<Cut>,
    /// How many requests were answered in this round, and how many failed.
    pub answered: u64,
    /// How many failed, for whatever reason.
    pub failed: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |figures: &[f64]| {
            let figures = figures.iter().map(|figure| format!("{figure:.1} s"));
            figures.collect::<Vec<_>>().join(", ")
        };
        let (number, round) = (self.number, &self.round);
        let (drains, late) = (list(&self.drains), list(&self.late));
        write!(f, "{number:4}  {round}: gone after {drains}")?;
        if !late.is_empty() {
            write!(f, ", late by {late}")?;
        }
        f.write_str("; ")?;
        write!(f, "{} answered, {} failed", self.answered, self.failed)?;
        match self.cut {
            Some(_) => f.write_str(" (some had to)"),
            None => Ok(()),
        }
    }
}

/// A gateway of a shape; the number makes it another one than the last.
pub(super) fn gateway(shape: Shape, number: usize) -> Gateway {
    let gateway = Gateway::new();
    let gateway = match shape {
        Shape::Plain => gateway,
        Shape::BesideItsApplication => gateway.beside_its_application(),
        Shape::AdminOnASocket => gateway.admin_on_a_socket(),
        Shape::RegularContainer => gateway.annotation("mode", "container"),
        Shape::TwoEnvoys => gateway.two_envoys(),
    };
    gateway.edit(move |template| {
        template["metadata"]["annotations"]["soak"] = number.to_string().into();
    })
}

/// Plays a round, and returns when every pod that was to end is gone and every new one ready.
pub(super) async fn play(
    scene: &Scene<'_>,
    deployed: &mut Deployed<'_>,
    traffic: &Traffic,
    number: usize,
    round: Round,
) -> Result<Line> {
    sleep(round.pause).await;
    let before = traffic.count();
    let victim = deployed.a_pod().await?;
    if round.fault == Fault::SidecarKilledBefore {
        kill_sidecar(deployed, &victim).await?;
    }
    let _busy = match round.fault {
        Fault::CoresBusy { length } => Some(Busy::start(length)),
        _ => None,
    };
    let began = Instant::now();
    end(scene, deployed, &victim, number, &round, began).await?;
    let cut = fault(deployed, began, round.fault).await?;
    deployed.until_rolled_out().await?;
    let after = traffic.count();
    let ended = deployed.forget_the_gone();
    let record = traffic.record();
    let verdicts = ended
        .iter()
        .filter_map(|life| life.verdict(&record, deployed.ports().traffic));
    let late = match cut {
        // It did not end by itself.
        Some(_) => Vec::new(),
        None => verdicts.map(|verdict| verdict.seconds_off()).collect(),
    };
    let drains = ended.iter().filter_map(Life::took);
    Ok(Line {
        number,
        drains: drains.map(|took| took.as_secs_f64()).collect(),
        late,
        cut,
        answered: after.answered - before.answered,
        failed: after.failed - before.failed,
        round,
    })
}

/// Asks for the end of pods.
async fn end(
    scene: &Scene<'_>,
    deployed: &mut Deployed<'_>,
    victim: &str,
    number: usize,
    round: &Round,
    began: Instant,
) -> Result<()> {
    match round.end {
        End::Rollout => deployed.become_another(gateway(round.shape, number)).await,
        End::RolloutTwice => {
            deployed
                .become_another(gateway(round.shape, number))
                .await?;
            sleep(SOON).await;
            deployed.restart()
        }
        End::RolloutUndone => {
            deployed
                .become_another(gateway(round.shape, number))
                .await?;
            first_to_end(deployed, began).await?;
            scene.ask("rollout undo deployment/gateway").map(drop)
        }
        End::Deletion => deployed.delete(victim, None).await,
        End::DeletionTwice => {
            deployed.delete(victim, None).await?;
            sleep(SOON).await;
            deployed.delete(victim, None).await
        }
        End::Eviction => {
            deployed
                .api()
                .evict(victim, &EvictParams::default())
                .await?;
            Ok(())
        }
        End::Scaling => {
            scene.ask("scale deployment/gateway --replicas=1")?;
            sleep(SOON).await;
            scene.ask("scale deployment/gateway --replicas=2").map(drop)
        }
    }
}

/// Lets happen what happens during a drain.
async fn fault(deployed: &Deployed<'_>, began: Instant, fault: Fault) -> Result<Option<Cut>> {
    let (after, container, signal, length) = match fault {
        Fault::SidecarHangs { after, length } => (after, "shutdown-manager", Signal::STOP, length),
        Fault::EnvoyHangs { after, length } => (after, "envoy", Signal::STOP, length),
        Fault::SidecarKilledInDrain { after } => {
            (after, "shutdown-manager", Signal::KILL, Duration::ZERO)
        }
        Fault::EnvoyKilledInDrain { after } => (after, "envoy", Signal::KILL, Duration::ZERO),
        Fault::None | Fault::SidecarKilledBefore | Fault::CoresBusy { .. } => return Ok(None),
    };
    let pod = first_to_end(deployed, began).await?;
    let deleted = pod.deleted.unwrap_or(began);
    sleep((deleted + after).saturating_duration_since(Instant::now())).await;
    let container = deployed.container(pod.name(), container)?;
    let cut = Cut::now(deployed, pod.name())?;
    // The drain may be over already: then there is nothing to hang or to kill.
    if container.signal(signal).is_err() {
        return Ok(None);
    }
    if signal == Signal::STOP {
        sleep(length).await;
        let _ = container.signal(Signal::CONT);
    }
    Ok(fault.cuts().then_some(cut))
}

/// The first pod that was told to end since a moment.
async fn first_to_end(deployed: &Deployed<'_>, since: Instant) -> Result<Life> {
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
        let container = life.container("shutdown-manager")?;
        let running = container.state.as_ref()?.running.is_some();
        running.then_some(container.restart_count)
    };
    let before = restarts();
    deployed
        .container(pod, "shutdown-manager")?
        .signal(Signal::KILL)?;
    until("the sidecar is back", async || {
        restarts().filter(|now| Some(*now) > before)
    })
    .await?;
    Ok(())
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
