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

/// At least so many times as fast as the other, in latency and in throughput.
const AHEAD: f64 = 2.0;

/// kB resident after all usual reviews: 15 MB.
const RESIDENT: u64 = 15_000_000 / 1024;

/// kB at the peak of a flood: the memory limit of the chart.
const LIMIT: u64 = 192 * 1024;

/// Which figures are not what they should be, each in a line; nothing where all are.
pub fn missed(figures: &Figures) -> Vec<String> {
    let Figures { ours, theirs, .. } = figures;
    let mut missed = Vec::new();
    for (what, times) in [
        ("median latency", ratio(theirs.median, ours.median)),
        ("throughput", ours.throughput / theirs.throughput),
    ] {
        if times < AHEAD {
            missed.push(format!("{what} is {times:.2} x, not {AHEAD:.1} x"));
        }
    }
    let resident = figures.growth.iter().map(|(_, resident)| *resident).max();
    for (what, found, bound) in [
        ("resident memory", resident.unwrap_or_default(), RESIDENT),
        ("the peak under a flood", figures.flood, LIMIT),
    ] {
        if found > bound {
            let [found, bound] = [found, bound].map(megabytes);
            missed.push(format!("{what} is {found}, not at most {bound}"));
        }
    }
    missed
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

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ours: (u64, f64, u64), flood: u64) -> Figures {
        let contestant = |micros, throughput, resident| Contestant {
            median: Duration::from_micros(micros),
            p99: Duration::from_micros(2 * micros),
            throughput,
            resident,
        };
        let (micros, throughput, resident) = ours;
        Figures {
            ours: contestant(micros, throughput, resident),
            theirs: contestant(300, 5_000.0, 100_000),
            review: 3_900,
            growth: vec![(0, 9_000), (1_000, resident)],
            flood,
        }
    }

    #[test]
    fn figures_that_are_good_enough_miss_nothing() {
        let missed = missed(&figures((150, 10_000.0, 14_000), 192 * 1024));
        assert_eq!(missed, Vec::<String>::new());
    }

    #[test]
    fn each_figure_that_is_missed_is_named() {
        let missed = missed(&figures((151, 9_900.0, 15_000), 200_000));
        assert_eq!(
            missed,
            [
                "median latency is 1.99 x, not 2.0 x",
                "throughput is 1.98 x, not 2.0 x",
                "resident memory is 15.4 MB, not at most 15.0 MB",
                "the peak under a flood is 204.8 MB, not at most 201.3 MB",
            ]
        );
    }
}
