//! The timeline, for a terminal.

use std::fmt::Write;

use crate::chart::{Chart, Row};

/// As wide as the narrowest of usual terminals has room for beside the names.
const COLUMNS: usize = 76;

/// A line per pod: when it served, when it was ending, when requests failed.
pub(crate) fn timeline(charts: &[Chart], end: f64) -> String {
    let mut text = String::new();
    for chart in charts {
        let _ = writeln!(text, "{} ({} failed)", chart.strategy, chart.failed);
        for row in &chart.rows {
            let _ = writeln!(text, "  {:<14} {}", row.name, line(row, end));
        }
    }
    let _ = writeln!(text, "  {:<14} {}", "seconds", axis(end));
    let _ = writeln!(
        text,
        "  {:<14} ━ serves   ▒ told to end   ✗ requests failed   ┊ the balancer learns of it",
        ""
    );
    text
}

fn line(row: &Row, end: f64) -> String {
    let width = end / COLUMNS as f64;
    let within = |moment: Option<f64>, start: f64| {
        moment.is_some_and(|moment| (start..start + width).contains(&moment))
    };
    let failures = row.failures_in(end, COLUMNS);
    let line: String = failures
        .iter()
        .enumerate()
        .map(|(column, failed)| {
            let start = column as f64 * width;
            let middle = start + width / 2.0;
            match () {
                () if *failed > 0 => '✗',
                () if within(row.learnt, start) => '┊',
                () if !row.alive.contains(&middle) && !within(row.told, start) => ' ',
                () if row.told.is_some_and(|told| told < start + width) => '▒',
                () => '━',
            }
        })
        .collect();
    line.trim_end().to_owned()
}

fn axis(end: f64) -> String {
    /// Between two marks.
    const STEP: usize = 5;

    let mut axis = String::new();
    for seconds in (0..).step_by(STEP) {
        let column = (f64::from(seconds) / end * COLUMNS as f64) as usize;
        if f64::from(seconds) >= end {
            break;
        }
        // A mark that the one before reaches into is left out.
        if column >= axis.len() {
            let _ = write!(axis, "{:1$}{seconds} ", "", column - axis.len());
        }
    }
    axis
}
