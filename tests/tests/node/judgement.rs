//! What must be true of every rollout that nobody interferes with.

use drainhook_tests::{
    due::Verdict,
    load::{Kind, Record},
    stage::{Deployed, Life},
};

/// How late a drain may end: by less than idle connections would hold it up, however busy the
/// machine is. `make bench-rollouts` looks closer.
const LATE: f64 = 20.0;

/// How much earlier than due a drain may seem to have ended: a client on a busy machine takes down
/// late what it saw.
const EARLY: f64 = 1.0;

/// Every request was answered, and there was one of each kind.
pub(crate) fn nothing_failed(record: &Record) {
    assert_eq!(record.describe_failures(), Vec::<String>::new());
    for kind in [Kind::Short, Kind::KeepAlive, Kind::Slow, Kind::Http2] {
        let answered = record.client_requests().any(|request| request.kind == kind);
        assert!(answered, "no {kind} request was sent");
    }
}

/// A drain ended not before it was due, and not long after.
pub(crate) fn on_time(verdict: &Verdict) {
    let off = verdict.seconds_off();
    assert!(-EARLY < off && off < LATE, "{off:.2} s off: {verdict:?}");
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
        let verdict = verdict.unwrap_or_else(|| panic!("{} has not drained", life.name()));
        on_time(&verdict);
        let (off, took) = (verdict.seconds_off(), life.took().unwrap_or_default());
        println!("{}: {off:+.2} s off, gone after {took:.1?}", life.name());
    }
    ended
}
