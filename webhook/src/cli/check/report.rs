//! What `check` found, in words.

use serde_json::Value;

use super::{Checked, Summary};
use crate::cli::inject::NOBODY_ASKS;
use crate::{Change, FoundEnvoy, Setting, Source};

/// Longer values are cut in the text; `--output json` and `inject --diff` have all of them.
const LONGEST_VALUE: usize = 100;

/// Writes the text.
pub(super) struct Report {
    all: bool,
    colour: bool,
    out: String,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Red,
    Yellow,
    Green,
}

impl Report {
    pub(super) fn new(all: bool, colour: bool) -> Self {
        Self {
            all,
            colour,
            out: String::new(),
        }
    }

    pub(super) fn text(mut self, pods: &[Checked], summary: Summary) -> String {
        for pod in pods {
            let silent = pod.explanation.reason == "not-opted-in"
                && pod.explanation.warnings.is_empty()
                && pod.explanation.notes.is_empty()
                && pod.explanation.injection_faults.is_empty();
            if self.all || !silent {
                self.pod(pod);
            }
        }
        self.summary(summary);
        self.out
    }

    fn pod(&mut self, pod: &Checked) {
        let explained = &pod.explanation;
        let title = self.ink(Ink::Bold, &pod.title);
        self.line(&format!(
            "{title} (line {}, namespace {})",
            pod.line, pod.namespace
        ));
        let ink = match explained.result {
            "reject" => Ink::Red,
            "inject" => Ink::Green,
            _ => Ink::Bold,
        };
        let because = self.ink(ink, explained.because);
        self.line(&format!("  {} {because}", pod.subject));
        if let Some(through) = explained.opted_in_through {
            let through = match through {
                "namespace" => format!("the namespace's label {}", crate::NAMESPACE_LABEL),
                _ => "its own annotation drainhook.io/inject".to_owned(),
            };
            self.line(&format!("  it takes part through {through}"));
        }
        self.list("to fix", Ink::Red, &explained.faults);
        self.list("broken", Ink::Red, &explained.injection_faults);
        self.list("warning", Ink::Yellow, &explained.warnings);
        self.list("to know", Ink::Bold, &explained.notes);
        for envoy in &explained.envoys {
            self.envoy(envoy);
        }
        if let Some(sidecar) = &explained.sidecar {
            let kind = if sidecar.native {
                "a native sidecar"
            } else {
                "a regular container"
            };
            self.line(&format!("  the sidecar is {kind}: {}", sidecar.because));
        }
        if !explained.changes.is_empty() {
            self.line("  what changes:");
            for change in &explained.changes {
                self.change(change);
            }
        }
        self.settings(&explained.settings);
        self.line("");
    }

    fn envoy(&mut self, envoy: &FoundEnvoy) {
        let container = self.ink(Ink::Bold, &envoy.container);
        self.line(&format!(
            "  Envoy is container {container}: {}",
            envoy.because
        ));
        self.line(&format!(
            "    its admin is at {}: {}",
            envoy.admin, envoy.admin_because
        ));
        if !envoy.quietened_ports.is_empty() {
            let ports: Vec<String> = envoy.quietened_ports.iter().map(u16::to_string).collect();
            self.line(&format!(
                "    probes and scrapes arrive on {}: they do not hold the drain up",
                ports.join(", ")
            ));
        }
        if let Some(strategy) = &envoy.drain_strategy {
            self.line(&format!(
                "    its command line has --drain-strategy {strategy}"
            ));
        }
        if let Some(seconds) = envoy.drain_time_seconds {
            self.line(&format!(
                "    its command line has --drain-time-s {seconds}"
            ));
        }
    }

    fn change(&mut self, change: &Change) {
        let place = &change.place;
        let line = match (&change.before, &change.after) {
            (None, Some(after)) => format!("+ {place}: {}", shown(after)),
            (Some(before), Some(after)) => {
                format!("~ {place}: {} becomes {}", shown(before), shown(after))
            }
            (_, None) => format!("- {place}"),
        };
        self.line(&format!("    {line}"));
    }

    fn settings(&mut self, settings: &[Setting]) {
        let settings: Vec<&Setting> = settings
            .iter()
            .filter(|setting| self.all || setting.source != Source::BuiltIn)
            .collect();
        if settings.is_empty() {
            return;
        }
        self.line("  its settings:");
        let width = settings
            .iter()
            .map(|one| one.key.len() + one.value.len())
            .max()
            .unwrap_or(0);
        for setting in settings {
            let source = match setting.source {
                Source::Pod => "the pod",
                Source::Namespace => "the namespace",
                Source::Installation => "the installation",
                Source::BuiltIn => "drainhook's default",
            };
            let gap = width - setting.key.len() - setting.value.len();
            self.line(&format!(
                "    {}: {}{}  ({source})",
                setting.key,
                setting.value,
                " ".repeat(gap)
            ));
        }
    }

    fn list(&mut self, heading: &str, ink: Ink, items: &[String]) {
        let heading = self.ink(ink, &format!("{heading}:"));
        for item in items {
            self.line(&format!("  {heading} {item}"));
        }
    }

    fn summary(&mut self, summary: Summary) {
        let Summary {
            pods,
            taking_part,
            faults,
            warnings,
        } = summary;
        let line = format!(
            "{}, {taking_part} taking part, {}, {}",
            count(pods, "pod"),
            count(faults, "fault"),
            count(warnings, "warning"),
        );
        let ink = match (faults, warnings) {
            (0, 0) => Ink::Green,
            (0, _) => Ink::Yellow,
            _ => Ink::Red,
        };
        if pods > 0 && taking_part + faults + warnings == 0 {
            self.line(NOBODY_ASKS);
        }
        let line = self.ink(ink, &line);
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => 1,
            Ink::Red => 31,
            Ink::Yellow => 33,
            Ink::Green => 32,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A value on one line, of bounded length.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
