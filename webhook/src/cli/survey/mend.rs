//! The command that makes a pod anew, so that the webhook sees it.

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use super::Finding;
use super::judge::State;
use super::read::Maker;
use crate::sidecar::NAME;

/// What made a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Owner {
    #[serde(rename = "apiVersion")]
    version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

impl Owner {
    /// The controller that an object names.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        let text = |field: &str| owner[field].as_str().map(str::to_owned);
        Some(Self {
            version: text("apiVersion")?,
            kind: text("kind")?,
            name: text("name")?,
        })
    }

    /// Whether its kind is of this API group.
    pub(super) fn is_of(&self, group: &str) -> bool {
        self.version.split('/').next() == Some(group)
    }

    /// Whether it makes pods from a template that can be asked for and changed.
    pub(super) fn has_template(&self) -> bool {
        self.rolls() || (self.is_of("apps") && self.kind == "ReplicaSet")
    }

    /// Whether its template can be changed once it is there: a Job's cannot.
    fn can_be_edited(&self) -> bool {
        !(self.is_of("batch") && self.kind == "Job")
    }

    /// Whether kubectl can restart it.
    fn rolls(&self) -> bool {
        let kinds = ["Deployment", "DaemonSet", "StatefulSet"];
        self.is_of("apps") && kinds.contains(&self.kind.as_str())
    }
}

/// A pod that is to be mended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patient<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// What makes it, where anything does.
    pub(super) maker: Option<&'a Maker>,
    pub(super) state: State,
    /// Whether the webhook gives it a drain anew once the one that it has is taken back.
    pub(super) begins_anew: bool,
    /// Whether no quota and no range would refuse it if it were made again.
    pub(super) is_admitted: bool,
}

impl Patient<'_> {
    /// The command that makes it anew with its drain; nothing where none is safe, or none would help.
    /// kubectl can restart what rolls its pods; of others the pod is deleted, and whatever made it
    /// makes another.
    pub(super) fn command(self) -> Option<String> {
        let Self {
            namespace, name, ..
        } = self;
        let Some(Maker { owner, .. }) = self.maker else {
            return self.replacement();
        };
        let (kind, maker) = (owner.kind.to_lowercase(), &owner.name);
        match self.state {
            // A restart makes the same again.
            State::Stopped | State::Unjudged => None,
            _ if self.comes_again() => (owner.rolls() && self.begins_anew).then(|| {
                format!(
                    "kubectl get {kind}/{maker} -n {namespace} -o yaml | drainhook uninject - | \
                     kubectl replace -f -"
                )
            }),
            _ if self.state == State::Refused || !self.is_admitted => owner
                .can_be_edited()
                .then(|| format!("kubectl edit {kind}/{maker} -n {namespace}")),
            _ if owner.rolls() => Some(format!(
                "kubectl rollout restart {kind}/{maker} -n {namespace}"
            )),
            _ => Some(format!("kubectl delete pod/{name} -n {namespace}")),
        }
    }

    /// Whether its drain is no good, and stands in the template as it is.
    fn comes_again(self) -> bool {
        let no_good = matches!(self.state, State::Broken | State::Outdated) || !self.is_admitted;
        no_good && self.maker.is_some_and(|maker| maker.in_template)
    }

    /// What is to be said beside the commands, or where there is none.
    pub(super) fn advice(self, has_commands: bool) -> Option<&'static str> {
        match self.state {
            _ if self.comes_again() => Some(IN_TEMPLATE),
            State::Unjudged => None,
            _ if has_commands => None,
            _ if self.maker.is_some() => Some(IN_JOB),
            _ => Some(BY_HAND),
        }
    }

    /// One that nobody made is replaced by itself, but only where the webhook lets it through: it is
    /// deleted before it is created again, so that one that is then refused is lost. The webhook
    /// leaves a drain that is there as it is, so a bad one is taken back beforehand.
    fn replacement(self) -> Option<String> {
        let through = match self.state {
            _ if !self.is_admitted => return None,
            State::Fine | State::Missing | State::Incomplete => "",
            State::Broken | State::Outdated if self.begins_anew => "drainhook uninject - | ",
            State::Broken
            | State::Outdated
            | State::RefusedAnew
            | State::Stopped
            | State::Refused
            | State::Unjudged => return None,
        };
        let Self {
            namespace, name, ..
        } = self;
        Some(format!(
            "kubectl get pod/{name} -n {namespace} -o yaml | {through}kubectl replace --force -f -"
        ))
    }

    /// The commands that say why its sidecar does not run.
    pub(super) fn looks(self) -> Vec<String> {
        if self.state != State::Stopped {
            return Vec::new();
        }
        let Self {
            namespace, name, ..
        } = self;
        vec![
            format!("kubectl describe pod/{name} -n {namespace}"),
            format!("kubectl logs pod/{name} -c {NAME} -n {namespace}"),
        ]
    }
}

/// What is said where a restart makes the same again. The command, where there is one, changes what is
/// in the cluster; what is applied next comes from somewhere else.
const IN_TEMPLATE: &str = "the template that it is made from holds this drain, so that a restart makes \
     the same again: run `drainhook inject` on the manifest that you keep, and apply it";

/// What is said of a pod of a Job that is not as it should be.
const IN_JOB: &str = "the template of a Job cannot be changed: change the Job's manifest, or the CronJob's \
     that makes it, delete the Job and create it again";

/// What is said of a pod for which there is no command at all.
const BY_HAND: &str = "nothing makes this pod again by itself, and made again as it is \
     it would be no better: change its manifest first, then delete it and create it from that";

/// The commands for all pods, each once, in the order of the pods.
pub(super) fn commands(findings: &[Finding]) -> Vec<&str> {
    once(
        findings
            .iter()
            .filter_map(|finding| finding.mend.as_deref()),
    )
}

/// The commands that say why sidecars do not run, as those that mend.
pub(super) fn looks(findings: &[Finding]) -> Vec<&str> {
    let all = findings.iter().flat_map(|finding| &finding.look);
    once(all.map(String::as_str))
}

fn once<'f>(all: impl Iterator<Item = &'f str>) -> Vec<&'f str> {
    let mut commands = Vec::new();
    for command in all {
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}
