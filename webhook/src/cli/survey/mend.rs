//! The command that makes a pod anew, so that the webhook sees it.

use serde::Serialize;
use serde_json::Value;

use super::Finding;
use super::judge::State;

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
}

/// The command for one pod; nothing where none is safe. kubectl can restart what rolls its pods; of
/// others the pod is deleted, and whatever made it makes another. One that nobody made is replaced by
/// itself, but only where the webhook lets it through: it is deleted before it is created again, so
/// that one that is then refused is lost.
pub(super) fn command(
    owner: Option<&Owner>,
    namespace: &str,
    pod: &str,
    state: State,
) -> Option<String> {
    let rolls = |owner: &Owner| {
        let kinds = ["Deployment", "DaemonSet", "StatefulSet"];
        owner.is_of("apps") && kinds.contains(&owner.kind.as_str())
    };
    let command = match owner {
        // A restart makes the same again.
        Some(owner) if state == State::Refused => {
            let (kind, name) = (owner.kind.to_lowercase(), &owner.name);
            format!("kubectl edit {kind}/{name} -n {namespace}")
        }
        Some(owner) if rolls(owner) => {
            let (kind, name) = (owner.kind.to_lowercase(), &owner.name);
            format!("kubectl rollout restart {kind}/{name} -n {namespace}")
        }
        Some(_) => format!("kubectl delete pod/{pod} -n {namespace}"),
        None if state == State::Refused => return None,
        None => {
            format!("kubectl get pod/{pod} -n {namespace} -o yaml | kubectl replace --force -f -")
        }
    };
    Some(command)
}

/// What is said of a pod for which there is no command.
pub(super) const BY_HAND: &str = "nothing makes this pod again by itself, and made again as it is it would be no better: change \
     its manifest first, then delete it and create it from that";

/// The commands for all pods, each once, in the order of the pods.
pub(super) fn commands(findings: &[Finding]) -> Vec<&str> {
    let mut commands: Vec<&str> = Vec::new();
    for finding in findings {
        match &finding.mend {
            Some(command) if !commands.contains(&command.as_str()) => commands.push(command),
            _ => {}
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
            let owner = owner(version, kind);
            assert_eq!(
                command(Some(&owner), "ns", "edge-1", State::Missing),
                Some(expected.to_owned())
            );
        }
    }

    #[test]
    fn a_pod_of_nobody_is_replaced() {
        let command = command(None, "ns", "edge", State::Missing).unwrap();
        assert!(
            command.ends_with("| kubectl replace --force -f -"),
            "{command}"
        );
    }

    #[test]
    fn what_would_be_refused_again_is_edited() {
        let owner = owner("apps/v1", "Deployment");
        let command = command(Some(&owner), "ns", "edge-1", State::Refused);
        assert_eq!(command.unwrap(), "kubectl edit deployment/edge -n ns");
    }

    #[test]
    fn a_pod_of_nobody_that_would_be_refused_is_not_deleted() {
        assert_eq!(command(None, "ns", "edge", State::Refused), None);
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
