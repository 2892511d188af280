//! Drives one drain: the clock and the sockets around the pure core.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tracing::{debug, info};

use crate::{
    drain::{Action, Drain, Observation, Outcome, Phase, Plan, Server},
    eyes::Eyes,
    reading::Breakdown,
};

/// Where a drain stands, for whoever looks on.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// When the hook came.
    pub(crate) began: Instant,
    /// Its phase.
    pub(crate) phase: Phase,
    /// Since when.
    pub(crate) since: Instant,
    /// Why it is not over, in words.
    pub(crate) words: String,
    /// What was open at the last look.
    pub(crate) breakdown: Breakdown,
}

impl Progress {
    /// A drain that is about to begin.
    pub(crate) fn new(began: Instant) -> Self {
        let words = "about to begin".to_owned();
        Self {
            began,
            phase: Phase::Delay,
            since: began,
            words,
            breakdown: Breakdown::default(),
        }
    }
}

/// Drains one Envoy to the end. `began` is when the hook came, `answered` whether the admin has
/// answered before.
pub(crate) async fn drain(
    envoy: &str,
    plan: Plan,
    began: Instant,
    answered: bool,
    mut eyes: Eyes,
    progress: &watch::Sender<Progress>,
) -> (Outcome, Breakdown) {
    let bound = began + plan.timeout;
    let mut drain = Drain::new(plan, answered);
    let mut observation = Observation::Time;
    let mut told = Told::default();
    loop {
        let now = began.elapsed();
        let (next, action) = drain.step(observation, now);
        drain = next;
        told.tell(envoy, &drain, now);
        let (phase, since) = drain.phase();
        progress.send_replace(Progress {
            began,
            phase,
            since: began + since,
            words: drain.words(now),
            breakdown: eyes.breakdown().clone(),
        });
        observation = match action {
            Action::Finish(outcome) => return (outcome, eyes.breakdown().clone()),
            Action::Sleep(until) => {
                sleep_until(began + until).await;
                Observation::Time
            }
            // An answer that comes after the bound is of no use.
            Action::Ask(question) => {
                let answer = timeout_at(bound, eyes.answer(question)).await;
                answer.unwrap_or(Observation::Time)
            }
        };
        debug!(envoy, ?action, ?observation, at = ?began.elapsed(), "step");
    }
}

/// One line per decision: what was told already.
#[derive(Default)]
struct Told {
    phase: Option<Phase>,
    server: bool,
}

impl Told {
    fn tell(&mut self, envoy: &str, drain: &Drain, now: Duration) {
        let (phase, _) = drain.phase();
        if let Some(Server {
            version,
            drain_time,
            ..
        }) = drain.server()
            && !std::mem::replace(&mut self.server, true)
        {
            let (major, minor) = version.unwrap_or_default();
            let drain_time = drain_time.unwrap_or_default().as_secs();
            info!(envoy, version = %format_args!("{major}.{minor}"), drain_time, "Envoy found");
        }
        if phase != Phase::Done && self.phase.replace(phase) != Some(phase) {
            let after = format_args!("{:.3}", now.as_secs_f64());
            info!(envoy, phase = phase.as_str(), %after, "{}", drain.words(now));
        }
    }
}
