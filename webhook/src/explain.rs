//! What was decided about a pod, and why: the data that `drainhook check` puts into words.

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde::Serialize;
use serde_json::Value;

use crate::annotations::{Key, TABLE};
use crate::decide::{NativeBecause, OptIn, Seen, examine};
use crate::decision::{DecideError, Decision, Request};
use crate::envoy::{AdminBecause, Because, Envoy};
use crate::inspect::injection_faults;
use crate::message::{fit, printable};
use crate::settings::{Settings, Source};

/// A decision with everything that led to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `inject`, `skip` or `reject`.
    pub result: &'static str,
    /// The reason's stable label.
    pub reason: &'static str,
    /// The reason in words.
    pub because: &'static str,
    /// Through what the pod takes part; `None` where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opted_in_through: Option<&'static str>,
    /// The containers that run Envoy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub envoys: Vec<FoundEnvoy>,
    /// Which kind of container the sidecar is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarKind>,
    /// Every setting that has a value, and who said it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// What would be added and changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What to fix before the pod can have a drain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What is wrong with the injection that the pod already has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub injection_faults: Vec<String>,
    /// What a person should look at, and could mend.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What a person should know, and need not do anything about. The webhook tells it as a warning,
    /// since the API server has nothing else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An Envoy of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundEnvoy {
    /// The container's name.
    pub container: String,
    /// How it was recognised, in words.
    pub because: String,
    /// Where its admin is.
    pub admin: String,
    /// How that was found, in words.
    pub admin_because: String,
    /// Ports where probes and scrapes arrive, which do not hold a drain up.
    pub quietened_ports: Vec<u16>,
    /// `--drain-strategy`, where its command line has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_strategy: Option<String>,
    /// `--drain-time-s`, in seconds, where its command line has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_time_seconds: Option<u64>,
}

/// Which kind of container the sidecar is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarKind {
    /// Whether it is a native sidecar.
    pub native: bool,
    /// Why, in words.
    pub because: String,
}

/// A setting of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The annotation's full key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Who said it.
    pub source: Source,
}

/// One operation of the patch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where, with names for indexes: `spec.containers[envoy].lifecycle`.
    pub place: String,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What will be there; `None` where it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Decides about a pod and explains the decision.
///
/// # Errors
/// As [`decide`](crate::decide).
pub fn explain(request: &Request<'_>) -> Result<(Decision, Explanation), DecideError> {
    let mut seen = Collected::default();
    let decision = examine(request, None, &mut |one| seen.take(one))?;
    let (notes, warnings) = decision
        .warnings()
        .iter()
        .cloned()
        .partition(|warning| seen.notes.contains(warning));
    let changes = match &decision {
        Decision::Inject { patch, .. } => changes(request.pod, patch),
        Decision::Skip { .. } | Decision::Reject { .. } => Vec::new(),
    };
    let explanation = Explanation {
        result: decision.result(),
        reason: decision.reason(),
        because: decision.in_words(),
        opted_in_through: seen.opted_in_through,
        envoys: seen.envoys,
        sidecar: seen.sidecar,
        settings: seen.settings,
        changes,
        faults: seen.faults,
        injection_faults: injection_faults(request.pod),
        warnings,
        notes,
    };
    Ok((decision, explanation))
}

#[derive(Default)]
struct Collected {
    opted_in_through: Option<&'static str>,
    envoys: Vec<FoundEnvoy>,
    sidecar: Option<SidecarKind>,
    settings: Vec<Setting>,
    faults: Vec<String>,
    notes: Vec<String>,
}

impl Collected {
    fn take(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::OptedIn(OptIn::Pod) => self.opted_in_through = Some("pod"),
            Seen::OptedIn(OptIn::Namespace) => self.opted_in_through = Some("namespace"),
            Seen::Settings(settings) => self.settings = shown(settings),
            Seen::Envoys(envoys) => self.envoys = envoys.iter().map(found).collect(),
            Seen::Native(native, because) => {
                self.sidecar = Some(SidecarKind {
                    native,
                    because: native_because(because),
                });
            }
            // As they are sent, so that they are found among the warnings again.
            Seen::Notes(notes) => self.notes = fit(notes.to_vec()),
            Seen::Faults(faults) => {
                self.faults = faults.iter().map(|fault| fault.message.clone()).collect();
            }
        }
    }
}

fn shown(settings: &Settings) -> Vec<Setting> {
    let setting = |key: Key| {
        let (value, source) = settings.shown(key)?;
        Some(Setting {
            key: key.full(),
            value: printable(&value),
            source,
        })
    };
    TABLE.iter().filter_map(|row| setting(row.key)).collect()
}

fn found(envoy: &Envoy<'_>) -> FoundEnvoy {
    FoundEnvoy {
        container: envoy.container.name.to_owned(),
        because: match envoy.because {
            Because::Named(source) => format!("named by {}", owner(source, Key::Envoy)),
            Because::Image => format!("its image is Envoy's: {}", printable(envoy.container.image)),
            Because::Command => "its command runs envoy".into(),
        },
        admin: envoy.admin.to_string(),
        admin_because: match envoy.admin_because {
            AdminBecause::Set(source) => format!("set by {}", owner(source, Key::Admin)),
            AdminBecause::ConfigYaml => "it stands in --config-yaml".into(),
            AdminBecause::ContainerPort => "a container port is called so".into(),
            AdminBecause::ServerInfoProbe => "a probe asks it for /server_info".into(),
            AdminBecause::Istio => "Istio's agent puts it there".into(),
            AdminBecause::Usual => {
                format!(
                    "assumed, as it usually is; if not, set {}",
                    Key::Admin.full()
                )
            }
        },
        quietened_ports: envoy.quietened.clone(),
        drain_strategy: envoy.arguments.drain_strategy.as_deref().map(printable),
        drain_time_seconds: envoy.arguments.drain_time,
    }
}

fn owner(source: Source, key: Key) -> String {
    match source {
        Source::Pod => format!("the pod's {}", key.full()),
        Source::Namespace => format!("the namespace's {}", key.full()),
        Source::Installation => format!("the installation's {}", key.annotation().name),
        Source::BuiltIn => "drainhook".into(),
    }
}

fn native_because(because: NativeBecause) -> String {
    match because {
        NativeBecause::Asked(source) => format!("asked for by {}", owner(source, Key::Mode)),
        NativeBecause::HasOthers => "the pod has native sidecars already".into(),
        NativeBecause::WasNative => "the one that is there is native too".into(),
        NativeBecause::Cluster(version) => format!("the cluster is Kubernetes {version}"),
        NativeBecause::ClusterUnknown => {
            "which Kubernetes it is for is not known; native sidecars are for 1.32 and later".into()
        }
    }
}

/// The operations of a patch, each with what is there before it.
fn changes(pod: &Value, patch: &[PatchOperation]) -> Vec<Change> {
    let mut pod = pod.clone();
    let mut changes = Vec::with_capacity(patch.len());
    for operation in patch {
        let pointer = operation.path();
        let is_item = parent(&pod, pointer).is_some_and(Value::is_array);
        let there = pointer.resolve(&pod).ok().cloned();
        let removed = matches!(operation, PatchOperation::Remove(_)).then(|| place(&pod, pointer));
        if json_patch::patch(&mut pod, std::slice::from_ref(operation)).is_err() {
            // It was verified before; what cannot be applied is not there to be shown.
            continue;
        }
        let (before, after) = match operation {
            // A new item moves the one that stood at its index.
            PatchOperation::Add(add) if is_item => (None, Some(add.value.clone())),
            PatchOperation::Add(add) => (there, Some(add.value.clone())),
            PatchOperation::Replace(replace) => (there, Some(replace.value.clone())),
            _ => (there, None),
        };
        let place = removed.unwrap_or_else(|| place(&pod, pointer));
        changes.push(Change {
            place,
            before,
            after,
        });
    }
    changes
}

fn parent<'v>(pod: &'v Value, pointer: &Pointer) -> Option<&'v Value> {
    pointer.parent()?.resolve(pod).ok()
}

/// A pointer as a person reads it.
fn place(pod: &Value, pointer: &Pointer) -> String {
    let mut words = String::new();
    let mut value = Some(pod);
    for token in pointer.tokens() {
        let step = token.decoded();
        let child = value.and_then(|value| match value {
            Value::Object(map) => map.get(step.as_ref()),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        });
        if value.is_some_and(Value::is_array) {
            let name = child.and_then(|item| item.get("name")?.as_str());
            words.push_str(&format!("[{}]", printable(name.unwrap_or(&step))));
        } else if step.contains(['.', '/']) {
            words.push_str(&format!("[{}]", printable(&step)));
        } else {
            if !words.is_empty() {
                words.push('.');
            }
            words.push_str(&printable(&step));
        }
        value = child;
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::configuration::Configuration;
    use crate::decision::Origin;

    fn explained(pod: &Value) -> Explanation {
        let configuration = Configuration::default();
        let request = Request {
            pod,
            namespace: None,
            configuration: &configuration,
            token: None,
            origin: Origin::Manifest,
        };
        explain(&request).unwrap().1
    }

    fn pod(annotations: &Value) -> Value {
        json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "proxy", "image": "envoyproxy/envoy:v1.36.2"}]},
        })
    }

    #[test]
    fn an_injection_is_explained_from_opt_in_to_changes() {
        let explanation = explained(&pod(&json!({
            "drainhook.io/inject": "true", "drainhook.io/quiet": "3s",
        })));
        assert_eq!(explanation.result, "inject");
        assert_eq!(explanation.opted_in_through, Some("pod"));
        assert_eq!(explanation.envoys[0].container, "proxy");
        assert_eq!(
            explanation.envoys[0].because,
            "its image is Envoy's: envoyproxy/envoy:v1.36.2"
        );
        assert!(explanation.envoys[0].admin_because.starts_with("assumed"));
        let places: Vec<&str> = explanation
            .changes
            .iter()
            .map(|change| change.place.as_str())
            .collect();
        assert_eq!(
            places,
            [
                "spec.containers[proxy].lifecycle",
                "spec.terminationGracePeriodSeconds",
                "spec.containers[shutdown-manager]",
                "metadata.annotations[drainhook.io/status]",
            ]
        );
        let quiet = explanation
            .settings
            .iter()
            .find(|one| one.key == "drainhook.io/quiet")
            .unwrap();
        assert_eq!((quiet.value.as_str(), quiet.source), ("3s", Source::Pod));
    }

    #[test]
    fn what_was_there_is_shown_beside_what_will_be() {
        let mut pod = pod(&json!({"drainhook.io/inject": "true"}));
        pod["spec"]["terminationGracePeriodSeconds"] = json!(60);
        let change = &explained(&pod).changes[1];
        assert_eq!(
            (&change.before, &change.after),
            (&Some(json!(60)), &Some(json!(305)))
        );
    }

    #[test]
    fn a_new_item_moves_what_stood_there_and_each_change_is_told_where_it_then_is() {
        let pod = json!({"items": [{"name": "a"}], "value": 1});
        let patch: Vec<PatchOperation> = serde_json::from_value(json!([
            {"op": "add", "path": "/items/0", "value": {"name": "b"}},
            {"op": "add", "path": "/value", "value": 2},
            {"op": "replace", "path": "/items/1/name", "value": "c"},
            {"op": "remove", "path": "/items/1"},
        ]))
        .unwrap();
        let changes = changes(&pod, &patch).into_iter();
        let shown: Vec<_> = changes
            .map(|change| (change.place, change.before, change.after))
            .collect();
        assert_eq!(
            shown,
            [
                ("items[b]".to_owned(), None, Some(json!({"name": "b"}))),
                ("value".to_owned(), Some(json!(1)), Some(json!(2))),
                (
                    "items[c].name".to_owned(),
                    Some(json!("a")),
                    Some(json!("c"))
                ),
                ("items[c]".to_owned(), Some(json!({"name": "c"})), None),
            ]
        );
    }

    #[test]
    fn why_the_sidecar_is_native_or_not_is_told() {
        for (because, words) in [
            (
                NativeBecause::Asked(Source::Pod),
                "asked for by the pod's drainhook.io/mode",
            ),
            (
                NativeBecause::HasOthers,
                "the pod has native sidecars already",
            ),
            (
                NativeBecause::WasNative,
                "the one that is there is native too",
            ),
            (
                NativeBecause::Cluster("1.31".parse().unwrap()),
                "the cluster is Kubernetes 1.31",
            ),
            (
                NativeBecause::ClusterUnknown,
                "which Kubernetes it is for is not known; native sidecars are for 1.32 and later",
            ),
        ] {
            assert_eq!(native_because(because), words);
        }
    }

    #[test]
    fn all_that_is_to_be_fixed_is_named() {
        let explanation = explained(&pod(&json!({
            "drainhook.io/inject": "true", "drainhook.io/quite": "3s", "drainhook.io/port": "80",
        })));
        assert_eq!(explanation.result, "reject");
        assert_eq!(explanation.faults.len(), 2);
        assert_eq!(explanation.changes, []);
    }

    #[test]
    fn a_pod_that_does_not_take_part_is_told_so() {
        let explanation = explained(&pod(&json!({})));
        assert_eq!(
            (explanation.result, explanation.reason),
            ("skip", "not-opted-in")
        );
        assert_eq!(explanation.opted_in_through, None);
    }
}
