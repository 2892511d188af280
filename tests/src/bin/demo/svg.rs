//! The timeline, as a picture.
//!
//! One panel per way of ending pods and one lane per pod in it: pale while the pod serves, amber
//! from the moment it is told to end, and within it how many requests are under way. Failed
//! requests are red, where and when they failed: in a lane, or behind its end where the pod is gone
//! and the balancer has not learnt of it.
//!
//! Colours follow the reader's light or dark mode where the viewer knows it; else the picture has a
//! light ground of its own.

use std::fmt::Write;

use crate::chart::{Chart, Row};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
/// Left of the lanes, for names.
const NAMES: f64 = 96.0;
const TITLE: f64 = 92.0;
const HEADER: f64 = 38.0;
const LANE: f64 = 26.0;
const GAP: f64 = 7.0;
const BETWEEN: f64 = 22.0;
const FOOT: f64 = 74.0;
/// About as wide as a letter of a label is.
const LETTER: f64 = 6.6;
/// Slices of time for requests under way.
const SLICES: usize = 300;
/// Slices of time for failed requests: as wide as a mark can be seen.
const MARKS: usize = 150;

const STYLE: &str = "
  text { font-family: ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; }
  .ground { fill: #ffffff; stroke: #d9dee5; }
  .title { fill: #16202c; font-size: 21px; font-weight: 650; }
  .subtitle, .name, .axis, .legend { fill: #5a6675; font-size: 13px; }
  .name, .axis, .legend { font-size: 12px; }
  .heading { fill: #16202c; font-size: 16px; font-weight: 650; }
  .count { font-size: 16px; font-weight: 650; }
  .bad { fill: #cf222e; }
  .good { fill: #1a7f4b; }
  .grid { stroke: #e8ecf1; stroke-width: 1; }
  .serving { fill: #dbe7f5; }
  .ending { fill: #fbe3b4; }
  .busy { fill: #6b9bd1; }
  .busy-ending { fill: #e09b2d; }
  .learnt { stroke: #5a6675; stroke-width: 1.5; stroke-dasharray: 3 2.5; }
  .failed { fill: #cf222e; }
  .cut { fill: #8250df; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0f151c; stroke: #2b3440; }
    .title, .heading { fill: #e8eef5; }
    .subtitle, .name, .axis, .legend { fill: #97a3b2; }
    .bad, .failed { fill: #ff6b64; }
    .good { fill: #4cc38a; }
    .grid { stroke: #202934; }
    .serving { fill: #1c2f47; }
    .ending { fill: #553f19; }
    .busy { fill: #4f86c6; }
    .busy-ending { fill: #d9962e; }
    .learnt { stroke: #97a3b2; }
    .cut { fill: #b08cf5; }
  }
";

/// Draws the charts up to `end` (seconds).
pub(crate) fn svg(charts: &[Chart], end: f64, subtitle: &str) -> String {
    let busiest = charts
        .iter()
        .flat_map(|chart| &chart.rows)
        .flat_map(|row| row.under_way(end, SLICES))
        .max()
        .unwrap_or(0)
        .max(1);
    let drawing = Drawing {
        end,
        busiest: busiest as f64,
    };
    let lanes = charts
        .iter()
        .map(|chart| panel_height(chart) + BETWEEN)
        .sum::<f64>()
        - BETWEEN;
    let height = TITLE + lanes + FOOT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n",
        escape(&summary(charts))
    );
    let _ = writeln!(
        out,
        "<rect class=\"ground\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"12\"/>",
        WIDTH - 1.0,
        height - 1.0
    );
    text(
        &mut out,
        "title",
        MARGIN,
        40.0,
        "A rolling update of two Envoy pods, under load",
    );
    text(&mut out, "subtitle", MARGIN, 62.0, subtitle);
    drawing.grid(&mut out, TITLE + HEADER - 10.0, TITLE + lanes + 6.0);
    let mut top = TITLE;
    for chart in charts {
        drawing.panel(&mut out, chart, top);
        top += panel_height(chart) + BETWEEN;
    }
    legend(&mut out, height - 22.0);
    out.push_str("</svg>\n");
    out
}

fn summary(charts: &[Chart]) -> String {
    let counts: Vec<_> = charts
        .iter()
        .map(|chart| format!("{}: {} failed", chart.strategy, chart.failed))
        .collect();
    format!(
        "Failed requests in a rolling update. {}.",
        counts.join(", ")
    )
}

fn panel_height(chart: &Chart) -> f64 {
    HEADER + chart.rows.len() as f64 * (LANE + GAP) - GAP
}

struct Drawing {
    end: f64,
    busiest: f64,
}

impl Drawing {
    fn x(&self, seconds: f64) -> f64 {
        let left = MARGIN + NAMES;
        left + (WIDTH - MARGIN - left) * (seconds.clamp(0.0, self.end) / self.end)
    }

    /// A line every few seconds, and what it stands for.
    fn grid(&self, out: &mut String, top: f64, bottom: f64) {
        /// More lines than this are in each other's way.
        const MOST: f64 = 14.0;

        let step = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];
        let step = step
            .into_iter()
            .find(|step| self.end / step <= MOST)
            .unwrap_or(120.0);
        for mark in 0..=(self.end / step) as usize {
            let seconds = mark as f64 * step;
            let x = self.x(seconds);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
                 <text class=\"axis\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{seconds:.0} s</text>",
                bottom + 15.0
            );
        }
    }

    fn panel(&self, out: &mut String, chart: &Chart, top: f64) {
        text(
            out,
            "heading",
            MARGIN,
            top + 20.0,
            &chart.strategy.to_string(),
        );
        let (class, count) = match chart.failed {
            0 => ("count good", "no request failed".to_owned()),
            1 => ("count bad", "1 request failed".to_owned()),
            failed => ("count bad", format!("{failed} requests failed")),
        };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\"><tspan class=\"{class}\">{count}</tspan>\
             <tspan class=\"subtitle\" dx=\"5\">of {}</tspan></text>",
            WIDTH - MARGIN,
            top + 20.0,
            thousands(chart.requests)
        );
        for (at, row) in chart.rows.iter().enumerate() {
            self.lane(out, row, top + HEADER + at as f64 * (LANE + GAP));
        }
    }

    fn lane(&self, out: &mut String, row: &Row, top: f64) {
        text(out, "name", MARGIN, top + LANE / 2.0 + 4.0, &row.name);
        let told = row.told.unwrap_or(f64::INFINITY);
        let bottom = top + LANE;
        self.bar(
            out,
            "serving",
            row.alive.start,
            told.min(row.alive.end),
            top,
        );
        self.bar(out, "ending", told, row.alive.end, top);
        self.under_way(out, row, told, bottom);
        if let Some(learnt) = row.learnt {
            let x = self.x(learnt);
            let _ = writeln!(
                out,
                "<line class=\"learnt\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"/>",
                top - 2.0,
                bottom + 2.0
            );
        }
        self.failures(out, row, bottom);
        self.duration(out, row, top);
        for cut in &row.cuts {
            let (x, y, r) = (self.x(*cut), top + LANE / 2.0, 5.0);
            let _ = writeln!(
                out,
                "<path class=\"cut\" d=\"M{x:.1} {:.1}l{r} {r}l-{r} {r}l-{r} -{r}z\"><title>an \
                 endless websocket was cut</title></path>",
                y - r
            );
        }
    }

    /// How long the pod took to end and why, behind everything that is in its lane.
    fn duration(&self, out: &mut String, row: &Row, top: f64) {
        let Some(told) = row.told else { return };
        let seconds = row.alive.end - told;
        let last = row.learnt.into_iter().chain(row.failures.last().copied());
        let last = last
            .chain(row.cuts.last().copied())
            .fold(row.alive.end, f64::max);
        let why = row
            .waited_for
            .map(|reason| format!(", {reason}"))
            .unwrap_or_default();
        let label = format!("{seconds:.1} s{why}");
        let outside = self.x(last) + 10.0;
        let fits = outside + label.len() as f64 * LETTER < WIDTH - MARGIN;
        // At the end of a long drain there is little under way, so there is room within.
        let (x, anchor) = if fits {
            (outside, "start")
        } else {
            (self.x(row.alive.end) - 12.0, "end")
        };
        let y = top + if fits { LANE / 2.0 + 4.0 } else { LANE / 2.0 };
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>",
            escape(&label)
        );
    }

    fn bar(&self, out: &mut String, class: &str, from: f64, to: f64, top: f64) {
        let (left, right) = (self.x(from), self.x(to));
        if from < to && right > left {
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{LANE}\" rx=\"2\"/>",
                right - left
            );
        }
    }

    /// The area of requests under way, in two colours.
    fn under_way(&self, out: &mut String, row: &Row, told: f64, bottom: f64) {
        let counts = row.under_way(self.end, SLICES);
        let slice = self.end / SLICES as f64;
        for (class, within) in [
            ("busy", row.alive.start..told.min(row.alive.end)),
            ("busy-ending", told..row.alive.end),
        ] {
            let mut area = String::new();
            for (at, count) in counts.iter().enumerate() {
                let start = (at as f64 * slice).max(within.start);
                let end = ((at + 1) as f64 * slice).min(within.end);
                if start < end && *count > 0 {
                    // The root leaves room for the few slow requests beside the many quick ones.
                    let height = (LANE - 4.0) * (*count as f64 / self.busiest).sqrt();
                    let (left, right) = (self.x(start), self.x(end));
                    let _ = write!(
                        area,
                        "M{left:.1} {bottom}V{:.1}H{right:.1}V{bottom}z",
                        bottom - height
                    );
                }
            }
            if !area.is_empty() {
                let _ = writeln!(out, "<path class=\"{class}\" d=\"{area}\"/>");
            }
        }
    }

    /// A mark where requests failed, the higher the more there were.
    fn failures(&self, out: &mut String, row: &Row, bottom: f64) {
        let slice = self.end / MARKS as f64;
        for (at, count) in row.failures_in(self.end, MARKS).iter().enumerate() {
            if *count > 0 {
                let left = self.x(at as f64 * slice);
                let width = self.x((at + 1) as f64 * slice) - left - 1.0;
                let height = (8.0 + 4.0 * (*count as f64).sqrt()).min(LANE);
                let _ = writeln!(
                    out,
                    "<rect class=\"failed\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
                     height=\"{height:.1}\" rx=\"1\"><title>{count} failed</title></rect>",
                    bottom - height
                );
            }
        }
    }
}

fn legend(out: &mut String, y: f64) {
    let mut x = MARGIN;
    for (class, label) in [
        ("serving", "pod serves"),
        ("ending", "told to end"),
        ("busy", "requests under way"),
        ("failed", "requests failed"),
    ] {
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"2\"/>",
            y - 10.0
        );
        text(out, "legend", x + 18.0, y, label);
        x += 36.0 + label.len() as f64 * LETTER;
    }
    let _ = writeln!(
        out,
        "<line class=\"learnt\" x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>",
        x + 4.0,
        y - 12.0,
        y + 4.0
    );
    text(out, "legend", x + 14.0, y, "the balancer learns of it");
    x += 182.0;
    let _ = writeln!(
        out,
        "<path class=\"cut\" d=\"M{} {}l5 5l-5 5l-5 -5z\"/>",
        x + 5.0,
        y - 9.0
    );
    text(out, "legend", x + 16.0, y, "endless websocket cut");
}

fn text(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
        escape(text)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// 11243 -> 11,243
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
