//! The command that makes a pod anew, so that the webhook sees it.

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(version: &str, kind: &str) -> Owner {
        let owner =
            json!({"apiVersion": version, "kind": kind, "name": "edge", "controller": true});
        Owner::of(&json!({"metadata": {"ownerReferences": [owner]}})).unwrap()
    }

    /// What makes pods from a template that says nothing of drains.
    fn maker(version: &str, kind: &str) -> Maker {
        Maker {
            owner: owner(version, kind),
            in_template: false,
        }
    }

    fn patient(maker: Option<&Maker>, state: State) -> Patient<'_> {
        Patient {
            namespace: "ns",
            name: "edge-1",
            maker,
            state,
            begins_anew: true,
            is_admitted: true,
        }
    }

    fn command(maker: Option<&Maker>, state: State) -> Option<String> {
        patient(maker, state).command()
    }

    #[test]
    fn what_rolls_is_restarted_and_what_does_not_is_made_anew_by_its_owner() {
        for (version, kind, expected) in [
            (
                "apps/v1",
                "Deployment",
                "kubectl rollout restart deployment/edge -n ns",
            ),
            (
                "apps/v1",
                "DaemonSet",
                "kubectl rollout restart daemonset/edge -n ns",
            ),
            (
                "apps/v1",
                "StatefulSet",
                "kubectl rollout restart statefulset/edge -n ns",
            ),
            ("apps/v1", "ReplicaSet", "kubectl delete pod/edge-1 -n ns"),
            ("batch/v1", "Job", "kubectl delete pod/edge-1 -n ns"),
            // Somebody else's kind of the same name.
            (
                "example.org/v1",
                "Deployment",
                "kubectl delete pod/edge-1 -n ns",
            ),
        ] {
            let maker = maker(version, kind);
            assert_eq!(
                command(Some(&maker), State::Missing),
                Some(expected.to_owned())
            );
        }
    }

    #[test]
    fn a_pod_of_nobody_is_replaced() {
        let command = command(None, State::Missing).unwrap();
        assert!(
            command.ends_with("| kubectl replace --force -f -"),
            "{command}"
        );
    }

    #[test]
    fn what_would_be_refused_again_is_edited() {
        let maker = maker("apps/v1", "Deployment");
        let command = command(Some(&maker), State::Refused);
        assert_eq!(command.unwrap(), "kubectl edit deployment/edge -n ns");
    }

    #[test]
    fn what_a_quota_would_refuse_is_edited_and_not_restarted() {
        let maker = maker("apps/v1", "DaemonSet");
        for state in [
            State::RefusedAnew,
            State::Outdated,
            State::Incomplete,
            State::Broken,
        ] {
            let patient = Patient {
                is_admitted: false,
                ..patient(Some(&maker), state)
            };
            let command = patient.command();
            assert_eq!(command.unwrap(), "kubectl edit daemonset/edge -n ns");
        }
        // The sidecar in the template has what it has, whatever is annotated.
        let templated = Maker {
            in_template: true,
            ..maker
        };
        let fixed = Patient {
            is_admitted: false,
            begins_anew: false,
            ..patient(Some(&templated), State::RefusedAnew)
        };
        assert_eq!(fixed.command(), None);
        assert_eq!(fixed.advice(false), Some(IN_TEMPLATE));
        for state in [State::Incomplete, State::Outdated] {
            let alone = Patient {
                is_admitted: false,
                ..patient(None, state)
            };
            assert_eq!(alone.command(), None, "it would be lost");
        }
    }

    #[test]
    fn the_pod_of_a_job_that_would_be_refused_is_for_its_manifest() {
        let job = maker("batch/v1", "Job");
        let patient = patient(Some(&job), State::Refused);
        assert_eq!(patient.command(), None);
        assert_eq!(patient.advice(false), Some(IN_JOB));
    }

    #[test]
    fn a_pod_of_nobody_that_would_be_refused_is_not_deleted() {
        assert_eq!(command(None, State::Refused), None);
    }

    #[test]
    fn a_drain_that_is_no_good_is_taken_back_before_a_pod_of_nobody_is_replaced() {
        for state in [State::Broken, State::Outdated] {
            assert_eq!(
                command(None, state).unwrap(),
                "kubectl get pod/edge-1 -n ns -o yaml | drainhook uninject - \
                 | kubectl replace --force -f -"
            );
            let lost = Patient {
                begins_anew: false,
                ..patient(None, state)
            };
            assert_eq!(lost.command(), None);
        }
    }

    #[test]
    fn where_the_sidecar_does_not_run_nothing_is_made_again_and_one_looks_why() {
        let maker = maker("apps/v1", "Deployment");
        for maker in [Some(&maker), None] {
            assert_eq!(command(maker, State::Stopped), None);
            assert_eq!(
                patient(maker, State::Stopped).looks(),
                [
                    "kubectl describe pod/edge-1 -n ns",
                    "kubectl logs pod/edge-1 -c shutdown-manager -n ns",
                ]
            );
        }
        assert!(patient(None, State::Broken).looks().is_empty());
    }

    #[test]
    fn what_a_template_holds_is_taken_back_there_since_a_restart_makes_the_same_again() {
        let templated = |kind| Maker {
            in_template: true,
            ..maker("apps/v1", kind)
        };
        let deployment = templated("Deployment");
        for state in [State::Broken, State::Outdated] {
            let patient = patient(Some(&deployment), state);
            assert_eq!(
                patient.command().unwrap(),
                "kubectl get deployment/edge -n ns -o yaml | drainhook uninject - | \
                 kubectl replace -f -"
            );
            assert_eq!(patient.advice(true), Some(IN_TEMPLATE));
            // The webhook would not give it another, or the pods would stay as they are.
            let lost = Patient {
                begins_anew: false,
                ..patient
            };
            let alone = templated("ReplicaSet");
            let alone = Patient {
                maker: Some(&alone),
                ..patient
            };
            for without in [lost, alone] {
                assert_eq!(without.command(), None);
                assert_eq!(without.advice(false), Some(IN_TEMPLATE));
            }
        }
        // The webhook adds what is lacking, whatever the template holds.
        let incomplete = patient(Some(&deployment), State::Incomplete);
        assert_eq!(
            incomplete.command().unwrap(),
            "kubectl rollout restart deployment/edge -n ns"
        );
        assert_eq!(incomplete.advice(true), None);
    }

    #[test]
    fn an_owner_that_is_no_controller_made_nothing() {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "edge"});
        assert_eq!(
            Owner::of(&json!({"metadata": {"ownerReferences": [owner]}})),
            None
        );
    }
}
