//! What holds for every workload, every style: in, again, and out.

use drainhook_webhook::Configuration;
use drainhook_webhook::cli::{inject_text, uninject_text};
use drainhook_webhook::manifest::parse;
use json_patch::merge;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::painter;
use super::properties::value;

/// A workload with fields at every level that nobody knows.
fn workload() -> impl Strategy<Value = Value> {
    let app = prop_oneof![
        Just(json!({"name": "app", "image": "app:1"})),
        Just(json!({"name": "app", "image": "app:1", "lifecycle": {}})),
        Just(json!({"name": "app", "image": "app:1", "lifecycle": null})),
        Just(
            json!({"name": "app", "image": "app:1", "livenessProbe": {"exec": {"command": ["x"]}}})
        ),
    ];
    let hook = prop_oneof![
        Just(json!({})),
        Just(json!({"lifecycle": {"postStart": {"exec": {"command": ["true"]}}}})),
        Just(json!({"lifecycle": {"preStop": {"exec": {"command": ["sleep", "15"]}}}})),
        Just(json!({"startupProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 3}})),
    ];
    let spec = prop_oneof![
        Just(json!({})),
        (0..400u32).prop_map(|grace| json!({"terminationGracePeriodSeconds": grace})),
        Just(json!({"initContainers": []})),
        Just(json!({"initContainers": [{"name": "first", "image": "first:1"}]})),
        Just(json!({"imagePullSecrets": [], "volumes": null})),
    ];
    let kind = prop_oneof!["Pod", "Deployment", "CronJob", "List"];
    let extras = prop::collection::vec(value(), 5);
    (kind, app, hook, spec, extras, any::<bool>()).prop_map(
        |(kind, app, hook, mut spec, extras, first)| {
            let mut envoy = json!({"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"});
            merge(&mut envoy, &hook);
            envoy["x-unknown"] = extras[0].clone();
            spec["containers"] = if first {
                json!([app, envoy])
            } else {
                json!([envoy, app])
            };
            spec["x-unknown"] = extras[1].clone();
            let pod = json!({
                "metadata": {
                    "name": "made",
                    "annotations": {
                        "drainhook.io/inject": "true",
                        "drainhook.io/pre-stop": "replace",
                    },
                    "x-unknown": extras[2],
                },
                "spec": spec,
                "x-unknown": extras[3],
            });
            wrap(&kind, pod, &extras[4])
        },
    )
}

fn wrap(kind: &str, mut pod: Value, extra: &Value) -> Value {
    match kind {
        "Deployment" => json!({
            "apiVersion": "apps/v1", "kind": kind, "x-unknown": extra,
            "spec": {"template": pod, "replicas": 2},
        }),
        "CronJob" => json!({
            "apiVersion": "batch/v1", "kind": kind,
            "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": pod}}},
        }),
        _ => {
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            if kind == "Pod" {
                return pod;
            }
            let other = json!({"apiVersion": "v1", "kind": "Service", "x-unknown": extra});
            json!({"apiVersion": "v1", "kind": "List", "items": [other, pod]})
        }
    }
}

fn in_again_and_out(text: &str) -> Result<String, TestCaseError> {
    let configuration = Configuration::default();
    let injected = match inject_text(text, &configuration) {
        Ok(injected) => injected,
        // A sequence at the end of a text whose last line is not finished.
        Err(refused) => {
            prop_assert!(
                refused[0].contains("without a line break"),
                "{refused:?}\n{text}"
            );
            return Err(TestCaseError::reject("refused"));
        }
    };
    prop_assert_ne!(&injected, text);
    let again = inject_text(&injected, &configuration);
    prop_assert_eq!(again.as_deref(), Ok(injected.as_str()), "again");
    let out = uninject_text(&injected);
    prop_assert_eq!(out.as_deref(), Ok(text), "out of\n{}", injected);
    Ok(injected)
}

/// The painter's comments; no generated string contains one.
fn comments(text: &str) -> usize {
    [
        "# about: what follows",
        "# at the margin",
        "# - deeper: x",
        "# why",
        "# one, [of] them",
    ]
    .iter()
    .map(|comment| text.matches(comment).count())
    .sum()
}

proptest! {
    #[test]
    fn a_workload_in_yaml_is_injected_again_and_taken_back_to_the_byte(
        workload in workload(), choices in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let text = painter::yaml(&workload, &choices);
        let injected = in_again_and_out(&text)?;
        // Only the hook that gives way takes its own comments along, and brings them back.
        if !text.contains("preStop") {
            prop_assert_eq!(comments(&injected), comments(&text), "{}\n{}", text, injected);
        }
    }

    #[test]
    fn a_workload_in_json_is_injected_again_and_taken_back_to_the_byte(
        workload in workload(), choices in prop::collection::vec(any::<u8>(), 2..5),
    ) {
        let text = painter::json(&workload, &choices);
        let injected = in_again_and_out(&text)?;
        prop_assert!(serde_json::from_str::<Value>(&injected).is_ok());
    }

    #[test]
    fn documents_beside_it_stay_to_the_byte(
        workload in workload(), other in value(), choices in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let beside = painter::flow(&json!({"other": other}), &choices);
        let text = format!("--- {beside}\n---\n{workload}\n---\n# nothing\n--- {beside}\n");
        let injected = in_again_and_out(&text)?;
        let head = format!("--- {beside}\n---\n");
        let tail = format!("\n---\n# nothing\n--- {beside}\n");
        prop_assert!(injected.starts_with(&head) && injected.ends_with(&tail), "{injected}");
        prop_assert_eq!(parse(&injected).unwrap().len(), 4);
    }
}
