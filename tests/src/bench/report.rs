//! The figures as a table of Markdown.

use std::{fmt::Write, time::Duration};

use super::{Contestant, Figures};

/// One figure of a contestant, with its unit.
type Figure = fn(&Contestant) -> String;

/// The tables, as docs/benchmarks.md has them.
pub fn report(figures: &Figures) -> String {
    let Figures {
        ours,
        theirs,
        review,
        growth,
        flood,
    } = figures;
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("A review of {:.1} kB:\n", *review as f64 / 1000.0));
    line("| | drainhook | controller-runtime | |".to_owned());
    line("|---|---|---|---|".to_owned());
    let rows: [(&str, Figure, f64); 4] = [
        (
            "median latency, one connection",
            |it| millis(it.median),
            ratio(theirs.median, ours.median),
        ),
        (
            "99 % within",
            |it| millis(it.p99),
            ratio(theirs.p99, ours.p99),
        ),
        (
            "reviews a second",
            |it| format!("{:.0}", it.throughput),
            ours.throughput / theirs.throughput,
        ),
        (
            "resident memory",
            |it| megabytes(it.resident),
            theirs.resident as f64 / ours.resident as f64,
        ),
    ];
    for (what, figure, times) in rows {
        line(format!(
            "| {what} | {} | {} | {times:.1} x |",
            figure(ours),
            figure(theirs)
        ));
    }
    line("\n| reviews | resident |".to_owned());
    line("|---|---|".to_owned());
    for (reviews, resident) in growth {
        line(format!("| {reviews} | {} |", megabytes(*resident)));
    }
    line(format!(
        "\nPeak under a flood of bodies of 7 MiB: {}",
        megabytes(*flood)
    ));
    out
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn millis(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1000.0)
}

/// Of what `/proc` calls kB, which are 1024 bytes.
fn megabytes(kilobytes: u64) -> String {
    format!("{:.1} MB", kilobytes as f64 * 1024.0 / 1e6)
}
