//! What must be true of every rollout that nobody interferes with.

use drainhook_tests::{
    due::{Verdict, systematically_late},
    load::{Kind, Outcome, Record},
    measured::measured,
    stage::{Deployed, Life},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Every request was answered, and there were some of every kind.
pub(crate) fn nothing_failed(record: &Record) {
    nothing_of_these_failed(record, &Kind::CLIENTS);
}

/// Every request was answered, and there were some of each of these kinds.
pub(crate) fn nothing_of_these_failed(record: &Record, kinds: &[Kind]) {
    assert_eq!(record.describe_failures(), Vec::<String>::new());
    these_were_answered(record, kinds);
}

/// There were requests of every kind that were answered.
pub(crate) fn every_kind_was_answered(record: &Record) {
    these_were_answered(record, &Kind::CLIENTS);
}

fn these_were_answered(record: &Record, kinds: &[Kind]) {
    for kind in kinds {
        let mut requests = record.client_requests();
        let answered = requests.any(|it| it.kind == *kind && it.outcome == Outcome::Answered);
        assert!(answered, "no {kind} request was answered");
    }
}

/// A drain ended not before it was due, and not long after: see [`Verdict::latest`].
pub(crate) fn on_time(verdict: &Verdict) {
    assert_eq!(verdict.fault(), None, "{verdict:?}");
}

/// So many pods were told to end that had served, and each has drained: not before it was due, by
/// what the clients saw, and not long after.
pub(crate) fn drained(gateway: &Deployed<'_>, record: &Record, pods: usize) -> Vec<Life> {
    let lives = gateway.lives();
    let mut ended: Vec<_> = lives
        .into_iter()
        .filter(|life| life.deleted.is_some() && life.has_served())
        .collect();
    ended.sort_by_key(|life| life.deleted);
    assert_eq!(ended.len(), pods, "pods that were told to end");
    for life in &ended {
        let report = life.report().unwrap_or_default();
        let well = [": quiet after", ": drained after"]
            .iter()
            .any(|it| report.contains(it));
        assert!(well, "{}: {report:?}", life.name());
        let verdict = life.verdict(record, gateway.ports().traffic);
        let verdict = verdict.unwrap_or_else(|| panic!("no drain seen: {}", life.describe()));
        on_time(&verdict);
        let (off, latest) = (verdict.seconds_off(), verdict.latest());
        let (name, took) = (life.name(), life.took().unwrap_or_default());
        measured(format_args!(
            "{name} drained {off:+.2} s after it was due, {latest:.2?} at most; gone after {took:.1?}"
        ));
    }
    ended
}

/// Drains were not late all together, by what the clients saw: where one of them may be excused by a busy
/// machine, most of many may not.
pub(crate) fn not_systematically_late(gateway: &Deployed<'_>, record: &Record, ended: &[Life]) {
    let traffic = gateway.ports().traffic;
    let verdicts = ended
        .iter()
        .filter_map(|life| life.verdict(record, traffic));
    let verdicts: Vec<_> = verdicts.collect();
    assert_eq!(verdicts.len(), ended.len());
    let known = verdicts.iter().filter(|it| it.held.is_some());
    assert!(known.count() > ended.len() / 2, "{verdicts:#?}");
    assert_eq!(systematically_late(&verdicts), None, "{verdicts:#?}");
}

/// When a container ended, to the second.
pub(crate) fn finished(life: &Life, container: &str) -> Time {
    let state = life
        .container(container)
        .and_then(|container| container.state.clone());
    let finished = state.and_then(|state| state.terminated?.finished_at);
    finished.unwrap_or_else(|| panic!("nobody knows when {container} ended"))
}
