//! One round of a soak: pods come to their end, and something goes wrong.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kube::api::EvictParams;
use tokio::time::sleep;

use super::{Cut, End, Round, Shape, strike};
use crate::{
    cluster::Traffic,
    gateway::Gateway,
    load::Record,
    stage::{Deployed, Life, Scene},
};

/// Between two deletions of the same pod, and before a rollout is changed or undone.
const SOON: Duration = Duration::from_secs(2);

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
    /// Whether the fault came when there was nothing left for it to befall: it was not tried then.
    pub too_late: bool,
    /// For each pod that had served and ended: seconds from the wish to the end.
    pub drains: Vec<f64>,
    /// For each drain that nobody cut: seconds from when it was due to its end, by what the clients saw.
    pub late: Vec<f64>,
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
        if self.too_late {
            f.write_str(" (too late, nothing was left)")?;
        }
        write!(f, ": gone after {}", list(&self.drains))?;
        if !self.late.is_empty() {
            write!(f, ", late by {}", list(&self.late))?;
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
    let _busy = strike::before(deployed, &victim, round.fault).await?;
    let began = Instant::now();
    end(scene, deployed, &victim, number, &round, began).await?;
    let strike = strike::during(deployed, began, round.fault).await?;
    deployed.until_rolled_out().await?;
    let after = traffic.count();
    let ended = deployed.forget_the_gone();
    let mut line = Line {
        number,
        too_late: false,
        drains: ended
            .iter()
            .filter(|life| life.has_served())
            .filter_map(|life| Some(life.took()?.as_secs_f64()))
            .collect(),
        late: Vec::new(),
        cut: None,
        faults: Vec::new(),
        answered: after.answered - before.answered,
        failed: after.failed - before.failed,
        round,
    };
    if let Some(strike) = strike {
        let struck = ended.iter().find(|life| life.name() == strike.pod);
        let struck =
            struck.with_context(|| format!("{} was struck and did not end", strike.pod))?;
        line.too_late = strike.came_too_late(struck);
        if line.round.fault.cuts() && !line.too_late {
            line.cut = Some(Cut::new(deployed, struck, strike.at)?);
        }
    }
    let record = traffic.record_since(began.checked_sub(BEFORE).unwrap_or(began));
    line.judge(deployed, &ended, &record);
    Ok(line)
}

impl Line {
    /// Judges the drain of each pod that had served, but for the one that was cut short. One about which
    /// nothing is known has not been drained, for all we know.
    fn judge(&mut self, deployed: &Deployed<'_>, ended: &[Life], record: &Record) {
        let cut = self.cut.as_ref().map(Cut::pod);
        let drained = |life: &&Life| life.has_served() && Some(life.name()) != cut;
        for life in ended.iter().filter(drained) {
            match life.verdict(record, deployed.ports().traffic) {
                Some(verdict) => {
                    self.late.push(verdict.seconds_off());
                    self.faults.extend(verdict.fault());
                }
                None => self
                    .faults
                    .push(format!("no drain was seen of {}", life.describe())),
            }
        }
    }
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
            strike::first_to_end(deployed, began).await?;
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
