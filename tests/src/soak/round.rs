//! One round of a soak: pods come to their end, and something goes wrong.

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kube::api::EvictParams;
use serde_json::json;
use tokio::time::sleep;

use super::{
    Cut, End, Fault, Round, Shape, Soak,
    strike::{self, AGENT},
};
use crate::{
    cluster::{Images, Traffic},
    due::Verdict,
    gateway::{Gateway, strict_probe},
    load::Record,
    stage::{Deployed, Life, Scene},
};

/// Between two deletions of the same pod, and before a rollout is changed or undone.
const SOON: Duration = Duration::from_secs(2);

/// A grace period at deletion that is shorter than the longest requests, in seconds.
const HURRY: u32 = 6;

/// Where the application listens that has no part in the traffic.
const AGENT_PORT: u16 = 8070;

/// The grace period that the pods have before they are injected, in seconds: what hangs is given that long.
const GRACE: u32 = 5;

/// How much of the record from before a round tells when its drains were due: longer than the longest
/// request of the mix.
const BEFORE: Duration = Duration::from_secs(30);

/// What came out of a round.
#[derive(Debug)]
pub struct Line {
    /// The round's number, from 1 on.
    pub number: usize,
    /// What was done.
    pub round: Round,
    /// Whether the fault came when there was nothing left for it to befall, or took from nobody what he needed.
    /// Nothing is known then of what it would have done.
    pub in_vain: bool,
    /// For each pod that had served and ended: seconds from the wish to the end.
    pub drains: Vec<f64>,
    /// For each drain that nobody cut: when it was due and when it ended, by what the clients saw.
    pub verdicts: Vec<Verdict>,
    /// Where a process with requests in flight was killed.
    pub cut: Option<Cut>,
    /// Pods that had served and ended without a drain or at the wrong time, in a line each.
    pub faults: Vec<String>,
    /// How many requests were answered in this round.
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
        write!(f, "{number:4}  {round}")?;
        if self.in_vain {
            f.write_str(" (in vain)")?;
        }
        write!(f, ": gone after {}", list(&self.drains))?;
        let late: Vec<_> = self.verdicts.iter().map(Verdict::seconds_off).collect();
        if !late.is_empty() {
            write!(f, ", late by {}", list(&late))?;
        }
        write!(f, "; {} answered, {} failed", self.answered, self.failed)?;
        if self.cut.is_some() {
            f.write_str(" (some may)")?;
        }
        for fault in &self.faults {
            write!(f, "\n      {fault}")?;
        }
        Ok(())
    }
}

impl Soak {
    /// A gateway of a shape, with an application beside it that has no part in the traffic; the number makes it
    /// another one than the last.
    pub(super) fn gateway(&self, images: &Images, shape: Shape, number: usize) -> Gateway {
        let gateway = Gateway::new();
        let gateway = match shape {
            Shape::Plain => gateway,
            Shape::BesideItsApplication => gateway.beside_its_application(),
            Shape::AdminOnASocket => gateway.admin_on_a_socket(),
            Shape::RegularContainer => gateway.annotation("mode", "container"),
            Shape::TwoEnvoys => gateway.two_envoys(),
        };
        let agent = json!({
            "name": AGENT,
            "image": images.tools.reference(),
            "args": ["serve", format!("0.0.0.0:{AGENT_PORT}")],
            "livenessProbe": strict_probe("/", AGENT_PORT),
        });
        let gateway = match self.drained {
            true => gateway,
            false => gateway.not_annotated(),
        };
        gateway.edit(move |template| {
            template["metadata"]["annotations"]["soak"] = number.to_string().into();
            template["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
            let containers = template["spec"]["containers"].as_array_mut();
            containers.into_iter().for_each(|it| it.push(agent.clone()));
        })
    }

    /// Plays a round, and returns when every pod that was to end is gone and every new one ready.
    pub(super) async fn play(
        &self,
        scene: &Scene<'_>,
        deployed: &mut Deployed<'_>,
        traffic: &Traffic,
        number: usize,
        round: Round,
    ) -> Result<Line> {
        sleep(round.pause).await;
        let before = traffic.count();
        let victim = deployed.a_pod().await?;
        let _meanwhile = strike::before(deployed, &victim, round.fault).await?;
        let began = Instant::now();
        self.end(scene, deployed, &victim, number, &round, began)
            .await?;
        let strike = strike::during(scene, deployed, began, round.fault).await?;
        deployed.until_rolled_out().await?;
        let after = traffic.count();
        let ended = deployed.forget_the_gone();
        let mut line = Line {
            number,
            in_vain: false,
            drains: ended
                .iter()
                .filter(|life| life.has_served())
                .filter_map(|life| Some(life.took()?.as_secs_f64()))
                .collect(),
            verdicts: Vec::new(),
            cut: None,
            faults: Vec::new(),
            answered: after.answered - before.answered,
            failed: after.failed - before.failed,
            round,
        };
        let find = |pod: &str| ended.iter().find(|life| life.name() == pod);
        if let Some(strike) = &strike {
            let struck = find(&strike.pod);
            let struck =
                struck.with_context(|| format!("{} was struck and did not end", strike.pod))?;
            line.in_vain = strike.came_too_late(struck);
            if line.round.fault.cuts() && !line.in_vain {
                line.cut = Some(Cut::new(deployed, struck, strike.at)?);
            }
        }
        let throttled = |life: &Life| life.waits.throttled.values().any(|it| it.periods > 0);
        if matches!(line.round.fault, Fault::Throttled { .. }) {
            line.in_vain = !ended.iter().any(throttled);
        }
        let record = traffic.record_since(began.checked_sub(BEFORE).unwrap_or(began));
        if line.round.end == End::DeletionInAHurry && line.cut.is_none() {
            let life = find(&victim).with_context(|| format!("{victim} did not end"))?;
            line.cut = hurried(deployed, life, began, &record, line.round.fault)?;
        }
        let hung = strike.map(|strike| strike.pod);
        line.judge(deployed, &ended, &record, hung.as_deref());
        Ok(line)
    }

    /// Asks for the end of pods.
    async fn end(
        &self,
        scene: &Scene<'_>,
        deployed: &mut Deployed<'_>,
        victim: &str,
        number: usize,
        round: &Round,
        began: Instant,
    ) -> Result<()> {
        let another = self.gateway(scene.stage().images(), round.shape, number);
        match round.end {
            End::Rollout => deployed.become_another(another).await,
            End::RolloutTwice => {
                deployed.become_another(another).await?;
                sleep(SOON).await;
                deployed.restart()
            }
            End::RolloutUndone => {
                deployed.become_another(another).await?;
                strike::first_to_end(deployed, began).await?;
                scene.ask("rollout undo deployment/gateway").map(drop)
            }
            End::Deletion => deployed.delete(victim, None).await,
            End::DeletionTwice => {
                deployed.delete(victim, None).await?;
                sleep(SOON).await;
                deployed.delete(victim, None).await
            }
            End::DeletionInAHurry => deployed.delete(victim, Some(HURRY)).await,
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
}

/// What a deletion in a hurry that was asked for at `began` may cost, where the drain was not over before.
fn hurried(
    deployed: &Deployed<'_>,
    life: &Life,
    began: Instant,
    record: &Record,
    fault: Fault,
) -> Result<Option<Cut>> {
    let over = began + Duration::from_secs(u64::from(HURRY));
    if life.over.is_some_and(|drained| drained < over) {
        return Ok(None);
    }
    let cut = Cut::new(deployed, life, over)?;
    Ok(Some(match fault {
        // What is short may take long then.
        Fault::EnvoyHangs { .. } | Fault::CoresBusy { .. } | Fault::Throttled { .. } => cut,
        _ => cut.of_long_requests(record),
    }))
}

/// Whether a pod has answered any client.
fn has_answered(life: &Life, record: &Record, traffic: u16) -> bool {
    let address = life.address.map(|ip| SocketAddr::new(ip, traffic));
    let mut requests = record.requests.iter();
    requests.any(|request| address.is_some() && request.endpoint == address)
}

impl Line {
    /// Judges the drain of each pod that had served, but for the one that was cut short. One about which
    /// nothing is known has not been drained, for all we know; of one that was told to end in the moment in
    /// which its sidecar started, and that no client has met, nothing is asked. What hung was late by that.
    fn judge(
        &mut self,
        deployed: &Deployed<'_>,
        ended: &[Life],
        record: &Record,
        hung: Option<&str>,
    ) {
        let cut = self.cut.as_ref().map(Cut::pod);
        let drained = |life: &&Life| life.has_served() && Some(life.name()) != cut;
        for life in ended.iter().filter(drained) {
            match life.verdict(record, deployed.ports().traffic) {
                Some(mut verdict) => {
                    if Some(life.name()) == hung {
                        verdict.held = None;
                    }
                    self.faults.extend(verdict.fault());
                    self.verdicts.push(verdict);
                }
                None if !has_answered(life, record, deployed.ports().traffic) => {}
                None => self
                    .faults
                    .push(format!("no drain was seen of {}", life.describe())),
            }
        }
    }
}
