//! What both timelines show, in seconds since the load began.

use std::ops::Range;
use std::time::{Duration, Instant};

use drainhook_tests::due::Reason;
use drainhook_tests::load::{Kind, Outcome as Ending, Request};
use drainhook_tests::rollout::Life;
use drainhook_tests::trial::{Outcome, Strategy};

/// Shown after the last event, as a part of the time before: room for a few words.
const ROOM: f64 = 0.1;

/// One way of ending pods.
pub(crate) struct Chart {
    pub(crate) strategy: Strategy,
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    pub(crate) rows: Vec<Row>,
}

/// One pod.
pub(crate) struct Row {
    pub(crate) name: String,
    /// From its first to its last moment, as far as the load was there.
    pub(crate) alive: Range<f64>,
    /// What its drain waited for longest.
    pub(crate) waited_for: Option<Reason>,
    /// When it was told to end.
    pub(crate) told: Option<f64>,
    /// When the balancer learnt of it.
    pub(crate) learnt: Option<f64>,
    /// When each of its failed requests had failed, in order.
    pub(crate) failures: Vec<f64>,
    /// When websockets without an end were cut.
    pub(crate) cuts: Vec<f64>,
    /// From when to when each of its requests was under way.
    pub(crate) requests: Vec<Range<f64>>,
}

/// The charts, and the moment at which all of them end.
pub(crate) fn charts(outcomes: &[Outcome], learns_after: Duration) -> (Vec<Chart>, f64) {
    let charts: Vec<_> = outcomes
        .iter()
        .map(|outcome| chart(outcome, learns_after))
        .collect();
    let ends = charts.iter().flat_map(|chart| &chart.rows).flat_map(|row| {
        // A pod that is never told to end stays to the end of the load, which is of no interest.
        let gone = row.told.map(|_| row.alive.end);
        gone.into_iter()
            .chain(row.learnt)
            .chain(row.failures.last().copied())
    });
    let end = (ends.fold(0.0, f64::max) * (1.0 + ROOM)).ceil();
    (charts, end)
}

fn chart(outcome: &Outcome, learns_after: Duration) -> Chart {
    Chart {
        strategy: outcome.strategy,
        requests: outcome.record.client_requests().count(),
        failed: outcome.failed(),
        rows: outcome
            .lives
            .iter()
            .map(|life| row(outcome, life, learns_after))
            .collect(),
    }
}

fn row(outcome: &Outcome, life: &Life, learns_after: Duration) -> Row {
    let began = outcome.record.started;
    let seconds = |moment: Instant| moment.saturating_duration_since(began).as_secs_f64();
    let here: Vec<&Request> = outcome
        .record
        .requests
        .iter()
        .filter(|request| request.endpoint == Some(life.endpoint))
        .filter(|request| request.kind != Kind::HealthCheck)
        .collect();
    let moments = |wanted: fn(&Request) -> bool| {
        here.iter()
            .filter(|request| wanted(request))
            .map(|request| seconds(request.ended))
            .collect()
    };
    let stopped = life.stopped.as_ref();
    let gone = stopped.map_or(f64::INFINITY, |stopped| seconds(stopped.gone));
    Row {
        name: life.name.clone(),
        alive: seconds(life.served)..gone,
        waited_for: outcome
            .verdicts
            .iter()
            .find(|verdict| verdict.pod == life.name)
            .map(|verdict| verdict.reason),
        told: stopped.map(|stopped| seconds(stopped.asked)),
        learnt: stopped.map(|stopped| seconds(stopped.asked + learns_after)),
        failures: moments(|request| {
            request.failure().is_some() && request.kind != Kind::EndlessWebSocket
        }),
        cuts: moments(|request| request.outcome == Ending::Cut),
        requests: here
            .iter()
            .map(|request| seconds(request.sent)..seconds(request.ended))
            .collect(),
    }
}

impl Row {
    /// How many requests were under way at most in each of `count` slices of the time to `end`.
    pub(crate) fn under_way(&self, end: f64, count: usize) -> Vec<usize> {
        let mut slices = vec![0; count];
        let index = |moment: f64| ((moment / end * count as f64) as usize).min(count);
        for request in self.requests.iter().filter(|request| request.start < end) {
            // A request counts in every slice that it touches.
            let last = (index(request.end) + 1).min(count);
            for slice in slices.iter_mut().take(last).skip(index(request.start)) {
                *slice += 1;
            }
        }
        slices
    }

    /// How many requests failed in each of `count` slices of the time to `end`.
    pub(crate) fn failures_in(&self, end: f64, count: usize) -> Vec<usize> {
        let mut slices = vec![0; count];
        for moment in self.failures.iter().filter(|moment| **moment < end) {
            if let Some(slice) = slices.get_mut((moment / end * count as f64) as usize) {
                *slice += 1;
            }
        }
        slices
    }
}
