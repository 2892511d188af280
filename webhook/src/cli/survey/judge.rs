//! What is to be said of one pod: pure.

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use super::image;
use crate::existing::{self, Named};
use crate::limits::Limits;
use crate::pod::Pod;
use crate::sidecar::NAME;
use crate::status::Status;
use crate::{
    Action, Change, Configuration, DecideError, Decision, Explanation, Namespace, Operation,
    Origin, Request, Token, decide, explain, uninject,
};

/// What a pod meets when it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions<'c> {
    pub(super) namespace: &'c Namespace,
    /// The quotas and ranges of the namespace, as far as they can be read.
    pub(super) limits: &'c Limits,
    pub(super) configuration: &'c Configuration,
}

/// How a pod that takes part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Its drain is there and works.
    Fine,
    /// It has none: the webhook did not see it.
    Missing,
    /// It has none and would get none: something in it has to be changed.
    Refused,
    /// It has one that does not work.
    Broken,
    /// It has one whose container does not run: made again, it would not run either.
    Stopped,
    /// It has one that works, and lacks something.
    Incomplete,
    /// It has one of another version, or with another image.
    Outdated,
    /// It has one that works, and if the pod were made again, it would be refused.
    RefusedAnew,
    /// It takes part, and what it has cannot be said: a fault of ours.
    Unjudged,
}

/// How a pod stands, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    pub(super) state: State,
    /// `pod` or `namespace`; nothing where an injection is all that speaks for it.
    pub(super) opted_in_through: Option<&'static str>,
    /// Why, in words.
    pub(super) messages: Vec<String>,
}

/// Judges a pod as the cluster has it; nothing where it takes no part.
pub(super) fn judge(pod: &Value, conditions: Conditions<'_>) -> Option<Verdict> {
    // Whether one is missing is what is asked.
    let token = Token::dry_run();
    match explain(&conditions.request(pod, &token)) {
        Ok((decision, explained)) => verdict(pod, &decision, explained),
        Err(error) => Some(unjudged(&error)),
    }
}

fn verdict(pod: &Value, decision: &Decision, explained: Explanation) -> Option<Verdict> {
    let through = explained.opted_in_through;
    if through.is_none() && explained.injection_faults.is_empty() {
        return None;
    }
    let (state, messages) = match is_injected(pod) {
        true => injected(pod, decision, explained),
        false => not_injected(decision, explained)?,
    };
    Some(Verdict {
        state,
        opted_in_through: through,
        messages,
    })
}

/// A pod of which nothing can be said is no reason to say nothing of all the others.
fn unjudged(error: &DecideError) -> Verdict {
    let message = format!("a fault of drainhook itself, please report it: {error}");
    Verdict {
        state: State::Unjudged,
        opted_in_through: None,
        messages: vec![message],
    }
}

/// What comes of a pod that is made again.
#[derive(Clone, Debug, Default)]
pub(super) struct Again {
    /// Whether the webhook gives it a drain anew once the one that it has is taken back. Whoever
    /// replaces the pod would otherwise lose it.
    pub(super) begins_anew: bool,
    /// Why the API server would refuse it for the sidecar that the webhook gives it.
    pub(super) refused: Vec<String>,
    /// The same, where its template holds the sidecar that it has.
    pub(super) refused_as_it_is: Vec<String>,
}

impl Again {
    pub(super) fn of(pod: &Value, conditions: Conditions<'_>) -> Self {
        let limits = conditions.limits;
        let Ok(Some(removal)) = uninject(pod) else {
            return Self {
                refused: limits.faults(&conditions.admitted(pod)),
                ..Self::default()
            };
        };
        let refused = limits.faults(&conditions.admitted(&removal.pod));
        let verdict = judge(&removal.pod, conditions);
        let missing = verdict.is_some_and(|verdict| verdict.state == State::Missing);
        Self {
            begins_anew: missing && refused.is_empty(),
            refused,
            refused_as_it_is: limits.faults(pod),
        }
    }
}

impl<'c> Conditions<'c> {
    fn request<'r>(&self, pod: &'r Value, token: &'r Token) -> Request<'r>
    where
        'c: 'r,
    {
        Request {
            pod,
            namespace: Some(self.namespace),
            configuration: self.configuration,
            token: Some(token),
            origin: Origin::Admission,
        }
    }

    /// A pod as the webhook hands it on.
    fn admitted(&self, pod: &Value) -> Value {
        let token = Token::dry_run();
        match decide(&self.request(pod, &token)) {
            Ok(decision) => decision.applied_to(pod),
            Err(_) => pod.clone(),
        }
    }
}

impl Verdict {
    /// With what stands against the pod being made again.
    pub(super) fn refused_anew(&mut self, faults: &[String]) {
        self.state = match self.state {
            State::Missing => State::Refused,
            State::Fine => State::RefusedAnew,
            other => other,
        };
        let has_one = !matches!(self.state, State::Refused);
        let when = if has_one { "if it is made again: " } else { "" };
        let said = faults.iter().map(|fault| format!("{when}{fault}"));
        self.messages.extend(said);
    }
}

/// Whether a pod, or a pod template, holds a sidecar of ours.
pub(super) fn is_injected(pod: &Value) -> bool {
    Pod::read(pod).is_ok_and(|pod| matches!(existing::find(&pod), Some(Named::Ours(_))))
}

fn injected(pod: &Value, decision: &Decision, explained: Explanation) -> (State, Vec<String>) {
    let faults = explained.injection_faults;
    if let Some(stopped) = stopped(pod) {
        return (State::Stopped, [faults, vec![stopped]].concat());
    }
    if !faults.is_empty() {
        return (State::Broken, faults);
    }
    let (mut state, mut messages) = (State::Fine, Vec::new());
    if let Decision::Inject {
        action: Action::Completed,
        ..
    } = decision
    {
        state = State::Incomplete;
        messages.push(incomplete(&explained.changes));
    }
    let older = match Status::of(pod) {
        Some(Status { version, .. }) if version != Status::VERSION => {
            let ours = Status::VERSION;
            Some(format!(
                "its drain is of drainhook {version}, and this is {ours}"
            ))
        }
        _ => image::of_another(pod, &explained.settings),
    };
    // What brings it to this version brings what it lacks, too, and not the other way about.
    if older.is_some() {
        state = State::Outdated;
    }
    messages.extend(older);
    (state, messages)
}

/// What the webhook would add, and what it would mend.
fn incomplete(changes: &[Change]) -> String {
    let of = |operation: Operation| -> Vec<&str> {
        let changes = changes.iter();
        let changes = changes.filter(|change| change.operation == operation);
        changes.map(|change| change.place.as_str()).collect()
    };
    let (lacks, differs) = (of(Operation::Add), of(Operation::Replace));
    let mut said = Vec::new();
    if !lacks.is_empty() {
        said.push(format!("its drain lacks {}", lacks.join(", ")));
    }
    if !differs.is_empty() {
        let differs = differs.join(", ");
        said.push(format!(
            "the webhook would write {differs} anew, to go with that"
        ));
    }
    said.join("; ")
}

/// Nothing for pods that are left as they are for a good reason.
fn not_injected(decision: &Decision, explained: Explanation) -> Option<(State, Vec<String>)> {
    if !explained.injection_faults.is_empty() {
        return Some((State::Broken, explained.injection_faults));
    }
    match decision {
        Decision::Inject { .. } => {
            let message = "it asks for a drain and has none: the webhook did not see it".to_owned();
            Some((State::Missing, vec![message]))
        }
        Decision::Reject { messages, .. } => Some((State::Refused, messages.clone())),
        Decision::Skip { .. } => None,
    }
}

/// Why the sidecar does not run, where it does not. One that has yet to start is no news.
fn stopped(pod: &Value) -> Option<String> {
    let of = |list: &str| pod["status"][list].as_array().into_iter().flatten();
    let mut all = of("containerStatuses").chain(of("initContainerStatuses"));
    let status = all.find(|status| status["name"] == NAME)?;
    let state = &status["state"];
    let waiting = state["waiting"]["reason"].as_str();
    let reason = match waiting {
        // Waits for its turn, or for the first pull.
        Some("ContainerCreating" | "PodInitializing") => None,
        Some(reason) => Some(reason),
        None => state["terminated"]["reason"].as_str(),
    };
    let reason = reason?;
    Some(format!(
        "container {NAME:?} does not run ({reason}): Envoy would end at once"
    ))
}
