//! What `check --cluster` found, in words.

use super::judge::State;
use super::{Finding, Summary, mend};

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// The text: each pod with its reasons, then the commands, then the sum.
pub(super) fn text(findings: &[Finding], summary: Summary, colour: bool) -> String {
    let ink = |colours: u8, text: &str| match colour {
        true => format!("\x1b[{colours}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    for finding in findings {
        let (heading, colours) = match finding.verdict.state {
            State::Missing => ("no drain", RED),
            State::Broken | State::Stopped => ("broken", RED),
            State::Refused => ("to fix", RED),
            State::Incomplete | State::Outdated | State::RefusedAnew => ("to know", YELLOW),
            State::Unjudged => ("not judged", RED),
            State::Fine => continue,
        };
        out.push_str(&format!("{}/{}\n", finding.namespace, finding.name));
        for message in &finding.verdict.messages {
            out.push_str(&format!(
                "  {} {message}\n",
                ink(colours, &format!("{heading}:"))
            ));
        }
        if let Some(through) = finding.verdict.opted_in_through {
            let through = match through {
                "namespace" => format!("its namespace's label {}", crate::NAMESPACE_LABEL),
                _ => "its own annotations".to_owned(),
            };
            out.push_str(&format!("  it takes part through {through}\n"));
        }
    }
    let sections = [
        ("to see why it does not run:", mend::looks(findings)),
        (
            "to mend it, while the webhook is up:",
            mend::commands(findings),
        ),
    ];
    for (heading, commands) in sections.iter().filter(|(_, all)| !all.is_empty()) {
        out.push_str(&format!("\n{heading}\n"));
        for command in commands {
            out.push_str(&format!("  {command}\n"));
        }
    }
    if !findings.is_empty() {
        out.push('\n');
    }
    let Summary {
        pods,
        taking_part,
        without_drain,
        to_know,
        not_judged,
    } = summary;
    let colours = match (without_drain + not_judged, to_know) {
        (0, 0) => GREEN,
        (0, _) => YELLOW,
        _ => RED,
    };
    let pods = if pods == 1 {
        "1 pod".to_owned()
    } else {
        format!("{pods} pods")
    };
    let mut line = format!(
        "{pods}, {taking_part} taking part, {without_drain} without a working drain, {to_know} to know"
    );
    if not_judged > 0 {
        line.push_str(&format!(", {not_judged} not judged"));
    }
    out.push_str(&ink(colours, &line));
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_mends_and_what_only_says_why_stand_apart_and_once() {
        let finding = |state, mend: Option<&str>, look: &[&str]| Finding {
            namespace: "edge".to_owned(),
            name: "gateway".to_owned(),
            verdict: Verdict {
                state,
                opted_in_through: Some("pod"),
                messages: vec!["it is so".to_owned()],
            },
            owner: None,
            mend: mend.map(str::to_owned),
            look: look.iter().map(|&it| it.to_owned()).collect(),
        };
        let findings = [
            finding(State::Missing, Some("mend"), &[]),
            finding(State::Missing, Some("mend"), &[]),
            finding(State::Stopped, None, &["look", "closer"]),
            finding(State::Refused, None, &[]),
        ];
        let summary = Summary {
            not_judged: 2,
            ..Summary::default()
        };
        let text = text(&findings, summary, false);
        let commands = "\n\nto see why it does not run:\n  look\n  closer\n\n\
                        to mend it, while the webhook is up:\n  mend\n\n0 pods";
        assert!(text.contains(commands), "{text}");
        assert!(text.contains("  broken: it is so\n"), "{text}");
        assert!(text.ends_with(" to know, 2 not judged\n"), "{text}");
    }
}
