//! What holds for every pod there is.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use drainhook_webhook::{
    Decision, LONGEST_WARNING, MOST_WARNINGS, Origin, decide, explain, injection_faults, pod_of,
    uninject, warn,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::pods::{Situation, anything, situation};

fn patched(situation: &Situation, pod: &Value) -> Option<Value> {
    match decide(&situation.request(pod)).unwrap() {
        Decision::Inject { patch, .. } => Some(support::apply(pod, &json!(patch)).unwrap()),
        Decision::Skip { .. } | Decision::Reject { .. } => None,
    }
}

/// The container of ours in a pod.
fn sidecar(pod: &Value) -> Value {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let all = lists
        .iter()
        .filter_map(|list| pod.pointer(list)?.as_array())
        .flatten();
    let mut all = all.filter(|container| container["name"] == "shutdown-manager");
    all.next().cloned().unwrap()
}

/// Whether everything of the original is in the other at its place, and whatever else is there is
/// ours. Written without looking at what the product notes about itself.
fn survives(original: &Value, other: &Value, path: &str) -> Result<(), String> {
    let key = path.rsplit('/').next().unwrap_or_default();
    match (original, other) {
        (Value::Object(was), Value::Object(is)) => {
            for (key, value) in was {
                let now = is.get(key).ok_or(format!("{path}/{key} is gone"))?;
                survives(value, now, &format!("{path}/{key}"))?;
            }
            let allowed = [
                "metadata",
                "annotations",
                "drainhook.io/status",
                "initContainers",
                "lifecycle",
                "preStop",
                "imagePullSecrets",
                "terminationGracePeriodSeconds",
            ];
            let new = is
                .keys()
                .find(|key| !was.contains_key(*key) && !allowed.contains(&key.as_str()));
            new.map_or(Ok(()), |key| Err(format!("{path}/{key} is new")))
        }
        (Value::Array(was), Value::Array(is)) => {
            let ours = |item: &Value| match key {
                "containers" | "initContainers" => item["name"] == "shutdown-manager",
                "imagePullSecrets" => item.as_object().is_some_and(|map| map.len() == 1),
                _ => false,
            };
            let mut left = is.iter();
            for (index, item) in was.iter().enumerate() {
                let now = loop {
                    let now = left.next().ok_or(format!("{path}/{index} is gone"))?;
                    if survives(item, now, &format!("{path}/{index}")).is_ok() || !ours(now) {
                        break now;
                    }
                };
                survives(item, now, &format!("{path}/{index}"))?;
            }
            let rest = left.find(|item| !ours(item));
            rest.map_or(Ok(()), |item| Err(format!("{path} has a new item {item}")))
        }
        (was, is) if was == is => Ok(()),
        // Kubernetes takes null for missing.
        (Value::Null, Value::Object(_) | Value::Array(_))
            if [
                "metadata",
                "annotations",
                "lifecycle",
                "preStop",
                "initContainers",
                "imagePullSecrets",
            ]
            .contains(&key) =>
        {
            Ok(())
        }
        (Value::Null, _) if key == "terminationGracePeriodSeconds" => Ok(()),
        (Value::Number(was), Value::Number(is))
            if path == "/spec/terminationGracePeriodSeconds" =>
        {
            let raised = was.as_i64() < is.as_i64();
            raised.then_some(()).ok_or(format!("{path} was lowered"))
        }
        (_, Value::String(_)) if path == "/metadata/annotations/drainhook.io/status" => Ok(()),
        (was, is) => Err(format!("{path} was {was} and is {is}")),
    }
}

/// The original with the hooks that may be replaced taken out where they were.
fn without_replaced_hooks(original: &Value, patched: &Value) -> Value {
    let mut original = original.clone();
    let names = |list: &str| -> Vec<(String, usize)> {
        let items = patched
            .pointer(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let replaced = items.filter(|item| {
            item.pointer("/lifecycle/preStop/httpGet/path")
                .and_then(Value::as_str)
                .is_some_and(|path| path.starts_with("/shutdown") || path == "/wait")
        });
        replaced
            .map(|item| (item["name"].as_str().unwrap_or_default().to_owned(), 0))
            .collect()
    };
    for list in ["/spec/containers", "/spec/initContainers"] {
        let replaced = names(list);
        let items = original
            .pointer_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for item in items {
            if replaced
                .iter()
                .any(|(name, _)| item["name"] == name.as_str())
                && let Some(lifecycle) = item.get_mut("lifecycle").and_then(Value::as_object_mut)
            {
                lifecycle.shift_remove("preStop");
            }
        }
    }
    original
}

/// A decision, with the status annotation as the data that it is: it keeps the originals of what was
/// replaced in the order in which they were written.
fn comparable(situation: &Situation, pod: &Value) -> Value {
    let decision = decide(&situation.request(pod)).unwrap();
    let mut result = Value::Null;
    if let Decision::Inject { patch, .. } = &decision {
        let mut patched = support::apply(pod, &json!(patch)).unwrap();
        let status = &mut patched["metadata"]["annotations"]["drainhook.io/status"];
        *status = serde_json::from_str(status.as_str().unwrap()).unwrap();
        let operations = patch.iter().map(|operation| operation.path().to_string());
        result = json!([patched, operations.collect::<Vec<_>>()]);
    }
    let mut messages = json!([]);
    if let Decision::Reject { messages: all, .. } = &decision {
        messages = json!(all);
    }
    json!([decision.reason(), decision.warnings(), messages, result])
}

/// The same value with all maps in the other order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map
                .iter()
                .rev()
                .map(|(key, value)| (key.clone(), reversed(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(reversed).collect(),
        other => other.clone(),
    }
}

/// The value with one part of it replaced by anything.
fn broken(value: &Value, steps: &[usize], with: &Value) -> Value {
    let Some((step, rest)) = steps.split_first() else {
        return with.clone();
    };
    let mut value = value.clone();
    match &mut value {
        Value::Object(map) if !map.is_empty() => {
            let index = step % map.len();
            if let Some((_, inner)) = map.iter_mut().nth(index) {
                *inner = broken(inner, rest, with);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let index = step % items.len();
            items[index] = broken(&items[index], rest, with);
        }
        other => *other = with.clone(),
    }
    value
}

fn everything(situation: &Situation, pod: &Value) {
    let _ = decide(&situation.request(pod)).unwrap();
    let _ = explain(&situation.request(pod)).unwrap();
    let _ = uninject(pod);
    let _ = injection_faults(pod);
    let _ = pod_of(pod);
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": pod.get("metadata"),
        "spec": {"template": pod},
    });
    let _ = warn(
        &object,
        situation.namespace.as_ref(),
        &situation.configuration,
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_unknown_and_everything_not_ours_survives(situation in situation()) {
        if let Some(patched) = patched(&situation, &situation.pod) {
            let original = without_replaced_hooks(&situation.pod, &patched);
            prop_assert_eq!(survives(&original, &patched, ""), Ok(()));
        }
    }

    #[test]
    fn the_patch_only_adds_and_replaces(situation in situation()) {
        let decision = decide(&situation.request(&situation.pod)).unwrap();
        if let Decision::Inject { patch, .. } = decision {
            for operation in json!(patch).as_array().unwrap() {
                let path = operation["path"].as_str().unwrap();
                prop_assert!(["add", "replace"].contains(&operation["op"].as_str().unwrap()));
                if operation["op"] == "replace" && !path.ends_with("/lifecycle/preStop") {
                    prop_assert!(!operation["value"].is_object(), "{}", operation);
                    prop_assert!(!operation["value"].is_array(), "{}", operation);
                }
            }
        }
    }

    #[test]
    fn both_implementations_of_json_patch_give_the_same(situation in situation()) {
        let decision = decide(&situation.request(&situation.pod)).unwrap();
        if let Decision::Inject { patch, .. } = decision {
            let mut one = situation.pod.clone();
            json_patch::patch(&mut one, &patch).unwrap();
            prop_assert_eq!(Ok(one), support::apply(&situation.pod, &json!(patch)));
        }
    }

    #[test]
    fn a_second_time_changes_nothing(situation in situation()) {
        if let Some(once) = patched(&situation, &situation.pod) {
            let again = decide(&situation.request(&once)).unwrap();
            prop_assert_eq!(again.reason(), "already-injected", "{:?}", again);
        }
    }

    #[test]
    fn the_webhook_adds_to_an_injected_manifest_nothing_but_a_token(situation in situation()) {
        let on_command_line =
            Situation { origin: Origin::Manifest, token: None, ..situation.clone() };
        let Some(once) = patched(&on_command_line, &situation.pod) else { return Ok(()) };
        let at_creation = Situation { origin: Origin::Admission, ..situation.clone() };
        let twice = patched(&at_creation, &once).unwrap_or_else(|| once.clone());
        let token = at_creation.token.as_ref().map(|token| token.reveal().to_owned());
        if let Some(token) = token.filter(|_| twice != once) {
            let text = twice.to_string();
            prop_assert!(text.matches(&token).count() >= 2, "{}", text);
        }
        prop_assert_eq!(injection_faults(&twice).len(), injection_faults(&once).len());
        let removal = uninject(&twice).unwrap().unwrap();
        prop_assert_eq!(removal.pod, situation.pod);
    }

    #[test]
    fn what_was_injected_can_be_taken_back(situation in situation()) {
        if let Some(once) = patched(&situation, &situation.pod) {
            let removal = uninject(&once).unwrap().unwrap();
            prop_assert_eq!(&removal.pod, &situation.pod);
            prop_assert_eq!(Ok(removal.pod), support::apply(&once, &json!(removal.patch)));
            prop_assert!(removal.warnings.is_empty(), "{:?}", removal.warnings);
        }
    }

    #[test]
    fn the_order_of_maps_does_not_matter(situation in situation()) {
        let other = reversed(&situation.pod);
        prop_assert_eq!(comparable(&situation, &situation.pod), comparable(&situation, &other));
    }

    #[test]
    fn the_grace_period_is_never_lowered_and_always_enough(situation in situation()) {
        if let Some(patched) = patched(&situation, &situation.pod) {
            let grace = |pod: &Value| pod["spec"]["terminationGracePeriodSeconds"].as_i64();
            prop_assert!(grace(&situation.pod) <= grace(&patched));
            prop_assert!(
                injection_faults(&patched).iter().all(|fault| !fault.contains("too short")),
                "{:?}",
                injection_faults(&patched)
            );
        }
    }

    #[test]
    fn pod_security_restricted_admits_the_sidecar(situation in situation()) {
        let decision = decide(&situation.request(&situation.pod)).unwrap();
        if let Some(patched) = patched(&situation, &situation.pod) {
            let context = &sidecar(&patched)["securityContext"];
            prop_assert_eq!(&context["allowPrivilegeEscalation"], false);
            prop_assert_eq!(&context["capabilities"], &json!({"drop": ["ALL"]}));
            prop_assert_eq!(&context["seccompProfile"]["type"], "RuntimeDefault");
            prop_assert_eq!(&context["readOnlyRootFilesystem"], true);
            let said = decision.warnings().iter().any(|warning| warning.contains("restricted"));
            prop_assert_eq!(said, context["runAsUser"] == 0);
            prop_assert_eq!(&context["runAsNonRoot"], !said);
        }
    }

    #[test]
    fn the_sidecar_takes_its_environment(situation in situation()) {
        if let Some(patched) = patched(&situation, &situation.pod) {
            let container = sidecar(&patched);
            let variables = container["env"].as_array().unwrap().iter().map(|variable| {
                // As the kubelet hands them on.
                let value = variable["value"].as_str().unwrap().replace("$$", "$");
                (variable["name"].as_str().unwrap().to_owned(), value)
            });
            let settings = shutdown_manager::settings::Settings::read([], variables);
            let settings = settings.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(settings.notes, [""; 0]);
            prop_assert_eq!(json!(settings.port), container["livenessProbe"]["httpGet"]["port"].clone());
            prop_assert_eq!(
                settings.token.is_some(),
                container["env"].to_string().contains("SHUTDOWN_MANAGER_TOKEN")
            );
            let grace = patched["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
            prop_assert!(settings.plan.timeout.as_secs() + 5 <= grace);
        }
    }

    #[test]
    fn warnings_are_printable_short_and_few(situation in situation()) {
        let decision = decide(&situation.request(&situation.pod)).unwrap();
        prop_assert!(decision.warnings().len() <= MOST_WARNINGS);
        for warning in decision.warnings() {
            prop_assert!(warning.len() <= LONGEST_WARNING);
            prop_assert!(warning.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
        }
        if let Decision::Reject { messages, .. } = decision {
            prop_assert!(!messages.is_empty());
            for message in messages {
                prop_assert!(message.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{}", message);
            }
        }
    }

    #[test]
    fn a_pod_that_nobody_opted_in_is_never_touched(situation in situation()) {
        let mut situation = situation;
        situation.namespace = None;
        if let Some(map) = situation.pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            map.shift_remove("drainhook.io/inject");
        }
        prop_assert!(patched(&situation, &situation.pod).is_none());
    }

    #[test]
    fn nothing_panics_on_anything(situation in situation(), value in anything()) {
        everything(&situation, &value);
    }

    #[test]
    fn nothing_panics_on_a_pod_that_is_broken_somewhere(
        situation in situation(),
        steps in proptest::collection::vec(0usize..64, 0..8),
        value in anything(),
    ) {
        everything(&situation, &broken(&situation.pod, &steps, &value));
        if let Some(patched) = patched(&situation, &situation.pod) {
            everything(&situation, &broken(&patched, &steps, &value));
        }
    }
}

#[test]
fn enough_of_the_generated_pods_are_injected() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut reasons = std::collections::BTreeMap::<&str, u32>::new();
    for _ in 0..2_000 {
        let situation = situation().new_tree(&mut runner).unwrap().current();
        *reasons
            .entry(decide(&situation.request(&situation.pod)).unwrap().reason())
            .or_default() += 1;
    }
    assert!(reasons["injected"] > 200, "{reasons:?}");
    assert!(reasons.len() >= 12, "{reasons:?}");
}

#[test]
fn a_hook_of_somebody_elses_on_the_sidecars_port_is_not_locked_out_by_a_token() {
    let pod = json!({
        "metadata": {"annotations": {"drainhook.io/inject": "true"}},
        "spec": {
            "containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}],
            "initContainers": [{
                "name": "helper",
                "restartPolicy": "Always",
                "lifecycle": {"preStop": {"httpGet": {"path": "/shutdown", "port": 8090}}},
            }],
        },
    });
    let by_command_line = Situation {
        pod: pod.clone(),
        namespace: None,
        configuration: drainhook_webhook::Configuration::default(),
        token: None,
        origin: Origin::Manifest,
    };
    let once = patched(&by_command_line, &pod).unwrap();
    let at_creation = Situation {
        token: Some(drainhook_webhook::Token::from_random(7)),
        origin: Origin::Admission,
        ..by_command_line
    };
    assert_eq!(patched(&at_creation, &once), None);
    assert_eq!(injection_faults(&once), [""; 0]);
}

#[test]
fn a_pod_of_a_hundred_containers_has_each_of_them_wait() {
    let mut containers: Vec<Value> = (0..99)
        .map(|number| json!({"name": format!("app-{number}"), "image": "app:1"}))
        .collect();
    containers.insert(
        50,
        json!({"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}),
    );
    let pod = json!({
        "metadata": {"annotations": {"drainhook.io/inject": "true"}},
        "spec": {"containers": containers},
    });
    let configuration = drainhook_webhook::Configuration::default();
    let situation = Situation {
        pod: pod.clone(),
        namespace: None,
        configuration,
        token: None,
        origin: Origin::Admission,
    };
    let patched = patched(&situation, &pod).unwrap();
    let hooks = patched.to_string().matches("\"/wait\"").count();
    assert_eq!(hooks, 99);
    assert_eq!(patched["spec"]["containers"].as_array().unwrap().len(), 101);
    assert_eq!(uninject(&patched).unwrap().unwrap().pod, pod);
}
