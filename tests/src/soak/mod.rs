//! Rollouts at random moments, with random faults, for as long as one likes.
//!
//! One gateway takes the mixed load from beginning to end, while its pods are replaced over and over.
//! No request may fail but those that were lost with an Envoy which ended by force during its drain: they
//! are told apart one by one, counted, and no more than the clients can have had there at the time. Each pod
//! that had served must have been drained, and at the right time.
//!
//! The webhook is rolled and never taken away: pods that are made without it have no drain, by design, and what
//! they lose at their end would hide what is lost for any other reason. The tests of the installation let it be
//! killed, scaled to zero and drained, and count the pods. Nor does a sidecar hang for good in a drain, which
//! holds its Envoy for the whole grace period: a test of its own waits for that.

mod cut;
mod plan;
mod round;
mod strike;

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

pub use cut::Cut;
pub use plan::{End, Fault, Round, Rounds, Shape};
pub use round::Line;

use crate::{
    due::{Verdict, systematically_late},
    load::{Mix, Record},
    stage::{Scene, Stage},
};

/// So many drains say something together.
const MANY: usize = 10;

/// How a soak goes.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// From which the rounds are drawn.
    pub seed: u64,
    /// The first round that is played: those before it are passed over.
    pub first: usize,
    /// After this no new round begins.
    pub length: Duration,
    /// The most rounds.
    pub rounds: usize,
    /// The clients.
    pub mix: Mix,
    /// Whether the pods ask for their drain. Where they do not, requests are lost, and a soak that does not see
    /// that sees nothing.
    pub drained: bool,
}

/// What came out of a soak.
#[derive(Debug)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// A line for each round.
    pub lines: Vec<Line>,
    /// How many requests were sent.
    pub requests: usize,
    /// How many of them were lost with an Envoy that ended by force.
    pub cut: usize,
    /// What must not be: requests that failed without such a reason, and drains that were not right; a line
    /// each.
    pub failures: Vec<String>,
}

impl Soak {
    /// Soaks, and tells each round when it is over. There is one at least.
    ///
    /// # Errors
    /// When the gateway does not come up, or a round does not come to an end: that is a failure too.
    pub async fn run(&self, stage: &Stage, mut tell: impl FnMut(&Line)) -> Result<Summary> {
        let scene = Scene::open(stage).await?;
        let mut gateway = scene
            .put_up(self.gateway(stage.images(), Shape::Plain, 0))
            .await?;
        let traffic = gateway.load(self.mix).await?;
        let began = Instant::now();
        let mut lines: Vec<Line> = Vec::new();
        let mut broken = None;
        let rounds = (1..)
            .zip(Rounds::of(self.seed))
            .skip(self.first.saturating_sub(1));
        for (number, round) in rounds.take(self.rounds) {
            if !lines.is_empty() && began.elapsed() + round.pause > self.length {
                break;
            }
            let what = format!("round {number}, {round}");
            let line = self
                .play(&scene, &mut gateway, &traffic, number, round)
                .await;
            match line {
                Ok(line) => {
                    tell(&line);
                    lines.push(line);
                }
                // What came of all the rounds before is told all the same.
                Err(error) => {
                    broken = Some(format!("{what}: {error:#}\n{}", describe(&scene)));
                    break;
                }
            }
        }
        let record = traffic.stop().await;
        let record = record.with_context(|| broken.clone().unwrap_or_default())?;
        let mut summary = Summary::new(self.seed, lines, &record, &self.mix);
        summary.failures.extend(broken);
        Ok(summary)
    }
}

/// What there is in the namespace, where a round does not come to an end.
fn describe(scene: &Scene<'_>) -> String {
    let description = scene.cluster().describe(Some(scene.namespace()));
    description.unwrap_or_else(|error| format!("{error:#}"))
}

impl Summary {
    /// Whether nothing came about that must not be.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    fn new(seed: u64, lines: Vec<Line>, record: &Record, mix: &Mix) -> Self {
        let cuts: Vec<_> = lines
            .iter()
            .filter_map(|line| Some((line.number, line.cut.as_ref()?)))
            .collect();
        let mut lost = vec![0; cuts.len()];
        let mut failures = Vec::new();
        for ((request, _), told) in record.failures().zip(record.describe_failures()) {
            match cuts.iter().position(|(_, cut)| cut.hit(request)) {
                Some(cut) => lost[cut] += 1,
                None => failures.push(told),
            }
        }
        for ((number, cut), lost) in cuts.iter().zip(&lost) {
            let most = cut.most(mix);
            if *lost > most {
                let pod = cut.pod();
                failures.push(format!(
                    "round {number}: {lost} requests were lost with the Envoy of {pod}, and at most \
                     {most} can have been there"
                ));
            }
        }
        for line in &lines {
            let number = line.number;
            let faults = line.faults.iter();
            failures.extend(faults.map(|fault| format!("round {number}: {fault}")));
        }
        let verdicts = lines.iter().flat_map(|line| &line.verdicts);
        let verdicts: Vec<_> = verdicts.cloned().collect();
        failures.extend(systematically_late(&verdicts).filter(|_| verdicts.len() >= MANY));
        Self {
            seed,
            requests: record.client_requests().count(),
            cut: lost.iter().sum(),
            lines,
            failures,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        let lines = &self.lines;
        let pods: usize = lines.iter().map(|line| line.drains.len()).sum();
        let cuts = lines.iter().filter(|line| line.cut.is_some()).count();
        let (rounds, requests) = (lines.len(), self.requests);
        writeln!(
            f,
            "{rounds} rounds, {pods} pods ended, {requests} requests: {} failures, and {} lost with {cuts} \
             Envoys that ended by force in their drain",
            self.failures.len(),
            self.cut,
        )?;
        let in_vain = lines.iter().filter(|line| line.in_vain).count();
        if in_vain > 0 {
            writeln!(
                f,
                "{in_vain} faults were in vain: nothing was left for them, or nobody was throttled"
            )?;
        }
        let verdicts = lines.iter().flat_map(|line| &line.verdicts);
        let mut late: Vec<_> = verdicts.map(Verdict::seconds_off).collect();
        late.sort_by(f64::total_cmp);
        if let (Some(first), Some(last)) = (late.first(), late.last()) {
            let median = late[late.len() / 2];
            writeln!(
                f,
                "{} drains ended {first:+.2} to {last:+.2} s from when they were due, median {median:+.2} s",
                late.len()
            )?;
        }
        write!(f, "again: SEED={}", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Failure, Kind, Outcome, Request};

    fn summary(outcome: Outcome) -> Summary {
        let now = Instant::now();
        let request = Request {
            kind: Kind::Slow,
            endpoint: None,
            sent: now,
            ended: now,
            outcome,
        };
        let record = Record {
            started: now,
            requests: vec![request],
            arrivals: Vec::new(),
            replaced: 0,
            lags: Vec::new(),
        };
        Summary::new(7, Vec::new(), &record, &Mix::small())
    }

    #[test]
    fn a_request_that_failed_without_a_reason_is_told_and_makes_the_soak_fail() {
        let lost = summary(Outcome::Failed(Failure::Refused));
        assert!(!lost.is_clean());
        let text = lost.to_string();
        assert!(text.starts_with("failed: "), "{text}");
        assert!(
            text.contains("slow at - sent 0.000s before: refused"),
            "{text}"
        );
        assert!(text.ends_with("again: SEED=7"), "{text}");
    }

    #[test]
    fn a_soak_in_which_every_request_was_answered_is_clean() {
        assert!(summary(Outcome::Answered).is_clean());
    }
}
