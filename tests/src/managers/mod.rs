//! drainhook beside the other ways of ending Envoy's pods: the same gateway, the same load, on the
//! same nodes, one after the other in one run.

mod shape;

use std::fmt;

use anyhow::Result;

pub use shape::Manager;

use crate::{
    due::{Verdict, systematically_late},
    load::Mix,
    product::SIDECAR_MEMORY,
    stage::{Memory, Scene, Stage},
};

/// What is compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// How many times drainhook's gateway is rolled in a row.
    pub rollouts: usize,
    /// How many times that of each of the others.
    pub others: usize,
    /// Which are measured.
    pub managers: Vec<Manager>,
}

/// What came out for one of them.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub manager: Manager,
    /// How many rollouts of two pods.
    pub rollouts: usize,
    /// How many requests.
    pub requests: usize,
    /// How many of them failed.
    pub failed: usize,
    /// For each pod, in order: seconds from its deletion to its end.
    pub gone: Vec<f64>,
    /// For each drain whose moment is known: seconds from when it was asked for until it was due, by what the
    /// clients saw: their requests that it had to wait for.
    pub due: Vec<f64>,
    /// For each of these: seconds from when it was due to its end.
    pub late: Vec<f64>,
    /// What the manager's container has in memory before the load; nothing without a manager.
    pub idle: Memory,
    /// The most that it has at a time, the process of its hook included.
    pub most: Memory,
    /// A line for each failed request; for drainhook also for what else it promises.
    pub failures: Vec<String>,
}

impl Comparison {
    /// Measures one after the other, and tells each when it is over.
    ///
    /// # Errors
    /// When a manager cannot be built, or its gateway does not come up or is not rolled out.
    pub async fn run(&self, stage: &Stage, mut tell: impl FnMut(&Outcome)) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for &manager in &self.managers {
            let rollouts = match manager {
                Manager::Drainhook => self.rollouts,
                _ => self.others,
            };
            let outcome = measure(stage, manager, rollouts).await?;
            tell(&outcome);
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}

async fn measure(stage: &Stage, manager: Manager, rollouts: usize) -> Result<Outcome> {
    let image = tokio::task::spawn_blocking(move || manager.image()).await??;
    if let Some(image) = &image {
        stage.cluster().import(image)?;
    }
    let scene = Scene::open(stage).await?;
    let gateway = scene.put_up(manager.gateway(image.as_ref())).await?;
    let idle = gateway.memory();
    let traffic = gateway.load(Mix::standard()).await?;
    let memory = gateway.watch_memory();
    for _ in 0..rollouts {
        gateway.roll().await?;
    }
    let most = memory.stop().await?;
    let record = traffic.stop().await?;
    let mut ended = gateway.forget_the_gone();
    ended.sort_by_key(|life| life.deleted);
    let traffic = gateway.ports().traffic;
    let verdicts: Vec<_> = ended
        .iter()
        .filter_map(|life| life.verdict(&record, traffic))
        .collect();
    let mut failures = record.describe_failures();
    if manager == Manager::Drainhook {
        failures.extend(systematically_late(&verdicts));
        let used = most.share;
        let over = !(1..=SIDECAR_MEMORY).contains(&used);
        failures.extend(over.then(|| {
            format!("its sidecar used {used} bytes (Pss), of which it may have {SIDECAR_MEMORY}")
        }));
    }
    Ok(Outcome {
        manager,
        rollouts,
        requests: record.client_requests().count(),
        failed: record.failures().count(),
        gone: ended
            .iter()
            .filter_map(|life| Some(life.took()?.as_secs_f64()))
            .collect(),
        due: verdicts.iter().map(|it| it.due.as_secs_f64()).collect(),
        late: verdicts.iter().map(Verdict::seconds_off).collect(),
        idle,
        most,
        failures,
    })
}

/// A row of a table in Markdown.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_rollout = self.failed as f64 / self.rollouts.max(1) as f64;
        let memory = |memory: Memory| match memory.share {
            0 => "–".to_owned(),
            bytes => format!("{:.1} MB", bytes as f64 / 1e6),
        };
        write!(
            f,
            "| {} | {} | {} | {} | {per_rollout:.1} | {} | {} | {} | {} | {} |",
            self.manager,
            self.rollouts,
            self.requests,
            self.failed,
            spread(&self.gone),
            spread(&self.due),
            spread(&self.late),
            memory(self.idle),
            memory(self.most),
        )
    }
}

/// The head of the table of outcomes.
pub const HEAD: &str = "\
| | rollouts | requests | failed | per rollout | seconds from deletion to gone | \
drain due after, seconds | drain's end, seconds from due | memory (Pss), idle | memory (Pss), most |
|---|---|---|---|---|---|---|---|---|---|";

/// So few figures are told one by one.
const FEW: usize = 4;

/// Some figures: each of a few, in their order; else the least, the median and the most.
fn spread(figures: &[f64]) -> String {
    if figures.len() <= FEW {
        let figures: Vec<_> = figures
            .iter()
            .map(|figure| format!("{figure:.1}"))
            .collect();
        return match figures.as_slice() {
            [] => "–".to_owned(),
            figures => figures.join(", "),
        };
    }
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let (least, most) = (figures[0], figures[figures.len() - 1]);
    let median = figures[figures.len() / 2];
    format!("{least:.1} to {most:.1}, median {median:.1}")
}
