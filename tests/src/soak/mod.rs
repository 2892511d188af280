//! Rollouts at random moments, with random faults, for as long as one likes.
//!
//! One gateway takes the mixed load from beginning to end, while its pods are replaced over and over.
//! No request may fail but those that were in flight in a pod whose Envoy or sidecar was killed
//! during its drain, at that moment; they are counted apart.

mod plan;
mod round;

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

pub use plan::{End, Fault, Round, Rounds, Shape};
pub use round::{Cut, Line};

use crate::{
    load::{Mix, Record, Request},
    stage::{Scene, Stage},
};

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
    /// How many of them were lost with a process that was killed.
    pub cut: usize,
    /// The ones that failed without such a reason, each in a line.
    pub failures: Vec<String>,
}

impl Soak {
    /// Soaks, and tells each round when it is over.
    ///
    /// # Errors
    /// When the gateway does not come up, or a round does not come to an end: that is a failure too.
    pub async fn run(&self, stage: &Stage, mut tell: impl FnMut(&Line)) -> Result<Summary> {
        let scene = Scene::open(stage).await?;
        let mut gateway = scene.put_up(round::gateway(Shape::Plain, 0)).await?;
        let traffic = gateway.load(self.mix).await?;
        let began = Instant::now();
        let mut lines = Vec::new();
        let rounds = (1..)
            .zip(Rounds::of(self.seed))
            .skip(self.first.saturating_sub(1));
        for (number, round) in rounds.take(self.rounds) {
            if began.elapsed() + round.pause > self.length {
                break;
            }
            let what = format!("round {number}, {round}");
            let line = round::play(&scene, &mut gateway, &traffic, number, round).await;
            let line = line.with_context(|| format!("{what}\n{}", describe(&scene)))?;
            tell(&line);
            lines.push(line);
        }
        let record = traffic.stop().await?;
        let cuts: Vec<_> = lines.iter().filter_map(|line| line.cut).collect();
        Ok(Summary::new(self.seed, lines, &record, &cuts))
    }
}

/// What there is in the namespace, where a round does not come to an end.
fn describe(scene: &Scene<'_>) -> String {
    let description = scene.cluster().describe(Some(scene.namespace()));
    description.unwrap_or_else(|error| format!("{error:#}"))
}

impl Summary {
    fn new(seed: u64, lines: Vec<Line>, record: &Record, cuts: &[Cut]) -> Self {
        let excused = |request: &Request| cuts.iter().any(|cut| cut.hit(request));
        let failures = record.failures().zip(record.describe_failures());
        let (cut, failures): (Vec<_>, Vec<_>) =
            failures.partition(|((request, _), _)| excused(request));
        Self {
            seed,
            lines,
            requests: record.client_requests().count(),
            cut: cut.len(),
            failures: failures.into_iter().map(|(_, line)| line).collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        let pods: usize = self.lines.iter().map(|line| line.drains.len()).sum();
        writeln!(
            f,
            "{} rounds, {pods} pods ended, {} requests: {} failed, {} cut with a process that was killed",
            self.lines.len(),
            self.requests,
            self.failures.len(),
            self.cut,
        )?;
        let late = self.lines.iter().flat_map(|line| &line.late);
        let mut late: Vec<_> = late.copied().collect();
        late.sort_by(f64::total_cmp);
        if let (Some(first), Some(last)) = (late.first(), late.last()) {
            let median = late[late.len() / 2];
            writeln!(
                f,
                "drains ended {first:+.2} to {last:+.2} s from when they were due, median {median:+.2} s"
            )?;
        }
        write!(f, "again: SEED={}", self.seed)
    }
}
