//! The figures of the run, for a terminal.

use std::fmt::Write;

use drainhook_tests::due::Verdict;
use drainhook_tests::kubelet::Stopped;
use drainhook_tests::load::Kind;
use drainhook_tests::trial::{Outcome, Strategy};

/// A row per way of ending pods, and what lies behind the figures.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<17} {:>8} {:>7}  {:<24} {}\n",
        "", "requests", "failed", "seconds until gone", "why a pod ended when it did"
    );
    for outcome in outcomes {
        let _ = writeln!(
            text,
            "{:<17} {:>8} {:>7}  {:<24} {}",
            outcome.strategy,
            outcome.record.client_requests().count(),
            outcome.failed(),
            seconds(outcome),
            why(outcome),
        );
    }
    text.push('\n');
    for outcome in outcomes {
        behind(outcome, &mut text);
    }
    text
}

/// When each drain ended and when it was due, by the clients' record.
pub(crate) fn drains(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes
        .iter()
        .filter(|outcome| !outcome.verdicts.is_empty())
    {
        let _ = writeln!(
            text,
            "When {} let go, and when it was due by what the clients saw \
             (max of floor, last arrival + quiet, last request + idle-quiet):",
            outcome.strategy
        );
        for verdict in &outcome.verdicts {
            let _ = writeln!(text, "  {}", drain(verdict));
        }
    }
    text
}

fn drain(verdict: &Verdict) -> String {
    format!(
        "{:<12} due {:6.2} s ({}), ended {:6.2} s: {:+.2} s{}",
        verdict.pod,
        verdict.due.as_secs_f64(),
        verdict.reason,
        verdict.ended.as_secs_f64(),
        verdict.seconds_off(),
        if verdict.is_on_time() {
            ""
        } else {
            "  <- more than half a second off"
        },
    )
}

fn stops(outcome: &Outcome) -> impl Iterator<Item = &Stopped> {
    outcome
        .lives
        .iter()
        .filter_map(|life| life.stopped.as_ref())
}

fn seconds(outcome: &Outcome) -> String {
    /// As many as there is room for.
    const MOST: usize = 4;

    let all: Vec<_> = stops(outcome)
        .map(|stopped| (stopped.gone - stopped.asked).as_secs_f64())
        .collect();
    if all.len() > MOST {
        let (least, most) = all.iter().fold((f64::MAX, 0.0), |(least, most), seconds| {
            (seconds.min(least), seconds.max(most))
        });
        return format!("{least:.1} to {most:.1}");
    }
    let all: Vec<_> = all.iter().map(|seconds| format!("{seconds:.1}")).collect();
    all.join(" ")
}

/// Why pods ended: the sidecar's own word where there is one.
fn why(outcome: &Outcome) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for stopped in stops(outcome) {
        let reason = match outcome.strategy {
            Strategy::AsItIs { own_hook: false } => "SIGTERM at once".to_owned(),
            Strategy::Sleep => "slept, whatever went on".to_owned(),
            Strategy::AsItIs { own_hook: true } | Strategy::Drainhook => ending(stopped),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons.join("; ")
}

fn ending(stopped: &Stopped) -> String {
    let sidecar = stopped
        .containers
        .iter()
        .find(|container| container.name == "shutdown-manager");
    if let Some(message) = sidecar.and_then(|sidecar| sidecar.message.as_deref()) {
        return gist(message);
    }
    let hooks = stopped
        .containers
        .iter()
        .filter_map(|container| container.hook.as_ref());
    let hooks: Vec<_> = hooks
        .map(|hook| match &hook.result {
            Ok(_) => format!("{} was over", hook.what),
            Err(error) => format!("{} failed: {error}", hook.what),
        })
        .collect();
    if hooks.is_empty() {
        "SIGTERM".to_owned()
    } else {
        hooks.join(", ")
    }
}

/// `envoy: quiet after 8.6 s: only idle connections are open; left open: ...` without the name, which
/// is the same in each row, the seconds, which have a column, and what was left.
fn gist(message: &str) -> String {
    let first = message.split(['\n', ';']).next().unwrap_or_default();
    let words = first.split_once(": ").map_or(first, |(_, words)| words);
    match words.split_once(" after ").and_then(|(reason, rest)| {
        let (_, why) = rest.split_once(": ")?;
        Some((reason, why))
    }) {
        Some((reason, why)) => format!("{reason}: {why}"),
        None => words.to_owned(),
    }
}

/// Failures by kind, and what is counted apart.
fn behind(outcome: &Outcome, text: &mut String) {
    let mut parts = Vec::new();
    if outcome.failed() > 0 {
        let how: Vec<_> = outcome
            .failures_by_label()
            .into_iter()
            .map(|(label, count)| format!("{count} {label}"))
            .collect();
        let what: Vec<_> = Kind::CLIENTS
            .into_iter()
            .filter_map(|kind| {
                let of_kind = outcome
                    .record
                    .failures()
                    .filter(|(request, _)| request.kind == kind);
                let count = of_kind.count();
                (count > 0).then(|| format!("{count} {kind}"))
            })
            .collect();
        parts.push(format!(
            "failed: {}; of these {}",
            how.join(", "),
            what.join(", ")
        ));
    }
    if outcome.record.cut() > 0 {
        parts.push(format!(
            "websockets without an end cut with their pods: {} (nothing can wait for their end; \
             counted apart)",
            outcome.record.cut()
        ));
    }
    parts.extend(outcome.notes.iter().cloned());
    if !parts.is_empty() {
        let _ = writeln!(text, "{}:", outcome.strategy);
        for part in parts {
            let _ = writeln!(text, "  {part}");
        }
    }
}
