//! One workload rolled under load, in one of three ways of ending its pods.

mod strategy;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};

pub use strategy::{Prepared, Strategy};

use crate::due::{self, Settings, Verdict};
use crate::endpoints::Endpoints;
use crate::load::{self, HealthChecks, Load, Mix, Record, Recorder};
use crate::rollout::{Fleet, Life, Observer, Traffic};

/// The most that a websocket without an end may hold up a drain for one to be part of the load.
/// With the product's default (as long as a drain may take) it would hold it up for five minutes.
const ENDLESS_WEBSOCKET_BOUND: Duration = Duration::from_secs(60);

/// What a trial is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many pods there are at a time.
    pub replicas: usize,
    /// How many times all of them are replaced.
    pub rounds: usize,
    /// How long after the end of a pod began the balancer learns of it.
    pub learns_after: Duration,
    /// Whether a load balancer checks the health of each pod on the traffic port every second.
    pub health_checks: bool,
    /// The clients.
    pub mix: Mix,
    /// Where the traffic goes.
    pub traffic: Traffic,
    /// How long the load goes on before the first rollout, and after the last.
    pub calm: Duration,
    /// The least that the load goes on altogether.
    pub least: Duration,
}

/// What came out of a trial.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The way of ending pods.
    pub strategy: Strategy,
    /// Every pod, in the order in which they were started.
    pub lives: Vec<Life>,
    /// What the clients saw.
    pub record: Record,
    /// Whether each drain ended when it was due; empty where nothing drained.
    pub verdicts: Vec<Verdict>,
    /// What was different from what was asked for, in words.
    pub notes: Vec<String>,
}

/// A trial that is ready to begin: its first pods serve.
pub struct Trial {
    plan: Plan,
    strategy: Strategy,
    settings: Option<Settings>,
    fleet: Fleet,
    endpoints: Endpoints,
    notes: Vec<String>,
}

impl Trial {
    /// Starts the first pods.
    ///
    /// # Errors
    /// Where they do not come up.
    pub async fn prepare(prepared: Prepared, mut plan: Plan, observer: Observer) -> Result<Self> {
        let Prepared {
            strategy,
            blueprint,
        } = prepared;
        let settings = Settings::of(&blueprint.workload.spec);
        let endpoints = Endpoints::new(plan.learns_after);
        let fleet = Fleet::start(
            Arc::new(blueprint),
            plan.replicas,
            plan.traffic.clone(),
            endpoints.clone(),
            observer,
        )
        .await?;
        let mut notes = Vec::new();
        for pod in fleet.pods().take(1) {
            notes.extend(pod.surroundings().notes.iter().cloned());
        }
        leave_out(&mut plan, &fleet, settings.as_ref(), &mut notes).await?;
        Ok(Trial {
            plan,
            strategy,
            settings,
            fleet,
            endpoints,
            notes,
        })
    }

    /// Starts the load. Its record can be watched while it grows.
    pub fn begin(mut self) -> Running {
        let target = &self.plan.traffic.target;
        let load = Load::start(Arc::new(self.endpoints.clone()), target, self.plan.mix);
        if self.plan.health_checks {
            let recorder = Arc::clone(load.recorder());
            self.fleet
                .check_health(HealthChecks::new(recorder, target.clone()));
        }
        Running {
            trial: self,
            load,
            began: Instant::now(),
        }
    }
}

/// A trial whose load is going on.
pub struct Running {
    trial: Trial,
    load: Load,
    began: Instant,
}

impl Running {
    /// What the clients have seen so far.
    pub fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(self.load.recorder())
    }

    /// Rolls the pods as planned. The load goes on.
    ///
    /// # Errors
    /// Where a pod does not come up or cannot be stopped.
    pub async fn roll(&mut self) -> Result<()> {
        let Trial {
            plan,
            strategy,
            fleet,
            ..
        } = &mut self.trial;
        for _ in 0..plan.rounds {
            tokio::time::sleep(plan.calm).await;
            fleet
                .roll()
                .await
                .with_context(|| format!("while pods were rolled ({strategy})"))?;
        }
        Ok(())
    }

    /// Lets the load go on for a while and end.
    pub async fn finish(self) -> Outcome {
        let Running { trial, load, began } = self;
        let Trial {
            plan,
            strategy,
            settings,
            fleet,
            notes,
            ..
        } = trial;
        sleep_until((Instant::now() + plan.calm).max(began + plan.least)).await;
        let record = load.stop().await;
        let lives = fleet.lives();
        let verdicts = settings.map_or_else(Vec::new, |settings| {
            lives
                .iter()
                .filter_map(|life| due::judge(life, &record, &settings))
                .collect()
        });
        Outcome {
            strategy,
            lives,
            record,
            verdicts,
            notes,
        }
    }
}

/// Takes out of the load what this Envoy does not serve, and says so.
async fn leave_out(
    plan: &mut Plan,
    fleet: &Fleet,
    settings: Option<&Settings>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let endpoint = fleet
        .endpoints()
        .next()
        .context("no pod to send requests to")?;
    let target = &plan.traffic.target;
    if plan.mix.has_websockets()
        && let Err(failure) = load::try_websocket(endpoint, target).await
    {
        plan.mix.websocket = 0;
        plan.mix.endless_websocket = 0;
        notes.push(format!("no websockets in the load: {failure}"));
    }
    if plan.mix.http2 > 0
        && let Err(failure) = load::try_http2(endpoint, target).await
    {
        plan.mix.http2 = 0;
        notes.push(format!("no HTTP/2 in the load: {failure}"));
    }
    if let Some(settings) = settings
        && plan.mix.endless_websocket > 0
        && settings.upgrade_timeout > ENDLESS_WEBSOCKET_BOUND
    {
        plan.mix.endless_websocket = 0;
        notes.push(format!(
            "no websocket without an end in the load: it would hold up each drain for \
             {:?}, the upgrade-timeout",
            settings.upgrade_timeout
        ));
    }
    Ok(())
}

impl Outcome {
    /// How many requests of clients failed, by the kind of failure.
    pub fn failures_by_label(&self) -> Vec<(&'static str, usize)> {
        let mut counts = HashMap::new();
        for (_, failure) in self.record.failures() {
            *counts.entry(failure.label()).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), *label));
        counts
    }

    /// How many requests of clients failed.
    pub fn failed(&self) -> usize {
        self.record.failures().count()
    }
}
