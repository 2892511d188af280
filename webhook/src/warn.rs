//! What a person should see at `kubectl apply`.
//!
//! Pods are made by controllers, so nobody sees what is said about a pod. The same is said about the
//! workload whose template it is, while the person who wrote it is looking.

use serde_json::Value;

use crate::annotations::PREFIX;
use crate::configuration::{Configuration, NAMESPACE_LABEL, Namespace};
use crate::decide::decide;
use crate::decision::{Decision, Origin, Request};
use crate::message::{fit, quoted};
use crate::workload;

/// The warnings about a workload; none for what has no pod template.
#[must_use]
pub fn warn(
    object: &Value,
    namespace: Option<&Namespace>,
    configuration: &Configuration,
) -> Vec<String> {
    let Some(pod) = workload::pod_of(object) else {
        return Vec::new();
    };
    let request = Request {
        pod,
        namespace,
        configuration,
        token: None,
        origin: Origin::Admission,
    };
    let mut warnings = match decide(&request) {
        Ok(Decision::Reject {
            messages, warnings, ..
        }) => {
            let denied = |message: String| format!("its pods will be refused: {message}");
            messages.into_iter().map(denied).chain(warnings).collect()
        }
        Ok(Decision::Inject { warnings, .. } | Decision::Skip { warnings, .. }) => warnings,
        // A fault of ours is no news for the person who applies; the pods' admission tells it.
        Err(_) => Vec::new(),
    };
    warnings.extend(misplaced(object, pod));
    fit(warnings)
}

/// What was meant for the pods and stands where it has no effect.
pub(crate) fn misplaced(object: &Value, pod: &Value) -> Vec<String> {
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let keys = |owner: &Value, map: &str| -> Vec<String> {
        let map = owner
            .get("metadata")
            .and_then(|metadata| metadata.get(map)?.as_object());
        let ours = |key: &&String| key.starts_with(PREFIX) && *key != crate::annotations::STATUS;
        map.into_iter()
            .flat_map(|map| map.keys())
            .filter(ours)
            .cloned()
            .collect()
    };
    let mut said = Vec::new();
    if workload::pod_pointer(object) != Some("") {
        let pods_own = keys(pod, "annotations");
        for key in keys(object, "annotations") {
            if !pods_own.contains(&key) {
                said.push(format!(
                    "{} stands on the {} itself, where it has no effect: write it into the pod \
                     template's annotations",
                    quoted(&key),
                    quoted(kind).trim_matches('"')
                ));
            }
        }
    }
    if keys(pod, "labels").iter().any(|key| key == NAMESPACE_LABEL) {
        said.push(format!(
            "{NAMESPACE_LABEL} is a label of the pod, where it has no effect: write it as an annotation"
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn warnings(annotations: &Value, spec: &Value) -> Vec<String> {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gateway"},
            "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}},
        });
        warn(&object, None, &Configuration::default())
    }

    fn envoy() -> Value {
        json!({"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]})
    }

    fn opted_in() -> Value {
        json!({"drainhook.io/inject": "true"})
    }

    #[test]
    fn a_right_template_is_passed_in_silence() {
        assert_eq!(warnings(&opted_in(), &envoy()), [""; 0]);
        assert_eq!(warnings(&json!({}), &envoy()), [""; 0]);
    }

    #[test]
    fn a_wrong_annotation_is_told() {
        let said = warnings(&json!({"drainhook.io/injct": "true"}), &envoy());
        assert!(
            said[0].starts_with("its pods will be refused: \"drainhook.io/injct\""),
            "{said:?}"
        );
    }

    #[test]
    fn a_hook_that_is_kept_is_told() {
        let mut annotations = opted_in();
        annotations["drainhook.io/pre-stop"] = json!("keep");
        let mut spec = envoy();
        spec["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 5}}});
        assert!(warnings(&annotations, &spec)[0].contains("keeps its own preStop hook (sleep)"));
    }

    #[test]
    fn a_grace_period_that_is_raised_is_told() {
        let mut spec = envoy();
        spec["terminationGracePeriodSeconds"] = json!(60);
        assert!(warnings(&opted_in(), &spec)[0].contains("raised from 60 to 305"));
    }

    #[test]
    fn an_envoy_that_is_not_found_is_told() {
        let spec = json!({"containers": [{"name": "app", "image": "app:1"}]});
        assert!(warnings(&opted_in(), &spec)[0].contains("no container runs Envoy"));
    }

    #[test]
    fn a_floor_too_short_for_the_nodes_network_is_told() {
        let mut spec = envoy();
        spec["hostNetwork"] = json!(true);
        assert!(warnings(&opted_in(), &spec)[0].contains("drainhook.io/min-drain"));
        let mut annotations = opted_in();
        annotations["drainhook.io/min-drain"] = json!("30s");
        assert_eq!(warnings(&annotations, &spec), [""; 0]);
    }

    #[test]
    fn what_stands_on_the_workload_instead_of_its_template_is_told() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"annotations": {"drainhook.io/inject": "true"}},
            "spec": {"template": {
                "metadata": {"labels": {"drainhook.io/inject": "true"}}, "spec": envoy(),
            }},
        });
        let said = warn(&object, None, &Configuration::default());
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("on the DaemonSet itself"));
        assert!(said[1].contains("is a label of the pod"));
    }

    #[test]
    fn what_has_no_pods_is_passed_in_silence() {
        let object = json!({"apiVersion": "v1", "kind": "Service"});
        assert_eq!(warn(&object, None, &Configuration::default()), [""; 0]);
    }

    #[test]
    fn what_is_not_for_people_to_write_is_passed_in_silence() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"annotations": {"drainhook.io/status": "{}", "example.org/inject": "true"}},
            "spec": {"template": {"metadata": {"annotations": opted_in()}, "spec": envoy()}},
        });
        assert_eq!(warn(&object, None, &Configuration::default()), [""; 0]);
    }
}
