//! What was decided about a pod, and why: the data that `drainhook check` puts into words.

mod changes;

use serde::Serialize;

use changes::changes;
pub use changes::{Change, Operation};

use crate::annotations::{Key, TABLE};
use crate::decide::{NativeBecause, OptIn, Seen, examine};
use crate::decision::{DecideError, Decision, Request};
use crate::envoy::{AdminBecause, Because, Envoy};
use crate::inspect::injection_faults;
use crate::message::{fit, printable};
use crate::settings::{Settings, Source};

/// A decision with everything that led to it, as programs read it too: every member is always there,
/// a list may be empty, what does not apply is null. What is in words for people (`because`) has a word
/// that never changes beside it.
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
    pub opted_in_through: Option<&'static str>,
    /// The containers that run Envoy.
    pub envoys: Vec<FoundEnvoy>,
    /// Which kind of container the sidecar is.
    pub sidecar: Option<SidecarKind>,
    /// Every setting that has a value, and who said it.
    pub settings: Vec<Setting>,
    /// What would be added and changed.
    pub changes: Vec<Change>,
    /// What to fix before the pod can have a drain.
    pub faults: Vec<String>,
    /// What is wrong with the injection that the pod already has.
    pub injection_faults: Vec<String>,
    /// What a person should look at, and could mend.
    pub warnings: Vec<String>,
    /// What a person should know, and need not do anything about. The webhook tells it as a warning,
    /// since the API server has nothing else.
    pub notes: Vec<String>,
}

/// An Envoy of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundEnvoy {
    /// The container's name.
    pub container: String,
    /// How it was recognised: `setting`, `image` or `command`.
    pub found_by: &'static str,
    /// The same in words.
    pub because: String,
    /// Where its admin is.
    pub admin: String,
    /// How that was found: `setting`, `config-yaml`, `container-port`, `server-info-probe`, `istio`
    /// or `assumed`.
    pub admin_found_by: &'static str,
    /// The same in words.
    pub admin_because: String,
    /// Ports where probes and scrapes arrive, which do not hold a drain up.
    pub quietened_ports: Vec<u16>,
    /// `--drain-strategy`, where its command line has one.
    pub drain_strategy: Option<String>,
    /// `--drain-time-s`, in seconds, where its command line has one.
    pub drain_time_seconds: Option<u64>,
}

/// Which kind of container the sidecar is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarKind {
    /// Whether it is a native sidecar.
    pub native: bool,
    /// What decided it: `setting`, `native-sidecars` that are there, `earlier-injection`,
    /// `cluster-version` or `unknown-version`.
    pub chosen_by: &'static str,
    /// The same in words.
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
                let (chosen_by, because) = native_because(because);
                self.sidecar = Some(SidecarKind {
                    native,
                    chosen_by,
                    because,
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
    let (found_by, because) = found_because(envoy);
    let (admin_found_by, admin_because) = admin_because(envoy.admin_because);
    FoundEnvoy {
        container: envoy.container.name.to_owned(),
        found_by,
        because,
        admin: envoy.admin.to_string(),
        admin_found_by,
        admin_because,
        quietened_ports: envoy.quietened.clone(),
        drain_strategy: envoy.arguments.drain_strategy.as_deref().map(printable),
        drain_time_seconds: envoy.arguments.drain_time,
    }
}

fn found_because(envoy: &Envoy<'_>) -> (&'static str, String) {
    match envoy.because {
        Because::Named(source) => ("setting", format!("named by {}", owner(source, Key::Envoy))),
        Because::Image => {
            let image = printable(envoy.container.image);
            ("image", format!("its image is Envoy's: {image}"))
        }
        Because::Command => ("command", "its command runs envoy".into()),
    }
}

fn admin_because(because: AdminBecause) -> (&'static str, String) {
    match because {
        AdminBecause::Set(source) => ("setting", format!("set by {}", owner(source, Key::Admin))),
        AdminBecause::ConfigYaml => ("config-yaml", "it stands in --config-yaml".into()),
        AdminBecause::ContainerPort => ("container-port", "a container port is called so".into()),
        AdminBecause::ServerInfoProbe => (
            "server-info-probe",
            "a probe asks it for /server_info".into(),
        ),
        AdminBecause::Istio => ("istio", "Istio's agent puts it there".into()),
        AdminBecause::Usual => {
            let key = Key::Admin.full();
            let words = format!("assumed, as it usually is; if not, set {key}");
            ("assumed", words)
        }
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

fn native_because(because: NativeBecause) -> (&'static str, String) {
    match because {
        NativeBecause::Asked(source) => (
            "setting",
            format!("asked for by {}", owner(source, Key::Mode)),
        ),
        NativeBecause::HasOthers => (
            "native-sidecars",
            "the pod has native sidecars already".into(),
        ),
        NativeBecause::WasNative => (
            "earlier-injection",
            "the one that is there is native too".into(),
        ),
        NativeBecause::Cluster(version) => (
            "cluster-version",
            format!("the cluster is Kubernetes {version}"),
        ),
        NativeBecause::ClusterUnknown => (
            "unknown-version",
            "which Kubernetes it is for is not known; native sidecars are for 1.32 and later"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
            assert_eq!(native_because(because).1, words);
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
