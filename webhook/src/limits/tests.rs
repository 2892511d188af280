use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Configuration, Origin, Request, decide};

/// A pod with its sidecar, which has what the annotations say.
fn injected(annotations: &[(&str, &str)], spec: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "gateway", "annotations": {"drainhook.io/inject": "true"}},
        "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]},
    });
    for (key, value) in annotations {
        pod["metadata"]["annotations"][*key] = json!(value);
    }
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    let configuration = Configuration::default();
    let request = Request {
        pod: &pod,
        namespace: None,
        configuration: &configuration,
        token: None,
        origin: Origin::Manifest,
    };
    decide(&request).unwrap().applied_to(&pod)
}

fn usual() -> Value {
    injected(&[], &json!({}))
}

fn quota(hard: &Value, rest: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
        "spec": rest,
    });
    object["spec"]["hard"] = hard.clone();
    object
}

fn range(items: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "team"},
        "spec": {"limits": items},
    })
}

fn container(mut item: Value) -> Value {
    item["type"] = json!("Container");
    range(&json!([item]))
}

fn faults(objects: &[&Value], pod: &Value) -> Vec<String> {
    Limits::of(objects.iter().copied()).faults(pod)
}

#[test]
fn a_quota_on_cpu_limits_names_the_key_that_meets_it() {
    let quota = quota(&json!({"limits.cpu": "4", "pods": 10}), &json!({}));
    assert_eq!(
        faults(&[&quota], &usual()),
        [
            "the API server would refuse the pod for its sidecar, because ResourceQuota \"team\" \
             counts limits.cpu and it has none: write drainhook.io/cpu-limit: \"50m\", on the pod \
             or on its namespace"
        ]
    );
    let met = injected(&[("drainhook.io/cpu-limit", "50m")], &json!({}));
    assert_eq!(faults(&[&quota], &met), [""; 0]);
}

#[test]
fn what_the_sidecar_has_anyway_may_be_counted() {
    let hard = json!({
        "cpu": "4", "memory": "1Gi", "requests.cpu": "4", "requests.memory": "1Gi",
        "limits.memory": "1Gi", "pods": "10", "requests.storage": "1Ti",
    });
    assert_eq!(faults(&[&quota(&hard, &json!({}))], &usual()), [""; 0]);
}

#[test]
fn a_default_of_a_range_meets_a_quota() {
    let quota = quota(&json!({"limits.cpu": "4"}), &json!({}));
    for item in [
        json!({"default": {"cpu": "500m"}}),
        // The API server makes the maximum the default.
        json!({"max": {"cpu": 1}}),
    ] {
        assert_eq!(faults(&[&quota, &container(item)], &usual()), [""; 0]);
    }
    let of_memory = container(json!({"default": {"memory": "64Mi"}}));
    assert_eq!(faults(&[&quota, &of_memory], &usual()).len(), 1);
}

#[test]
fn a_quota_on_some_pods_is_about_those_alone() {
    let hard = json!({"limits.cpu": "4"});
    let job = json!({"activeDeadlineSeconds": 60});
    for (spec, about_usual, about_job) in [
        (json!({"scopes": ["NotTerminating"]}), 1, 0),
        (json!({"scopes": ["Terminating"]}), 0, 1),
        (json!({"scopes": ["BestEffort"]}), 0, 0),
        (json!({"scopes": ["NotBestEffort"]}), 1, 1),
        (
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
            ]}}),
            0,
            0,
        ),
        (
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "Terminating", "operator": "Exists"},
            ]}}),
            0,
            1,
        ),
    ] {
        let quota = quota(&hard, &spec);
        assert_eq!(faults(&[&quota], &usual()).len(), about_usual, "{spec}");
        let job = injected(&[], &job);
        assert_eq!(faults(&[&quota], &job).len(), about_job, "{spec}");
    }
}

#[test]
fn a_minimum_above_what_the_sidecar_asks_for_names_every_key_that_it_takes() {
    let range = container(json!({"min": {"cpu": "10m", "memory": "64Mi"}}));
    assert_eq!(
        faults(&[&range], &usual()),
        [
            "the API server would refuse the pod for its sidecar, because LimitRange \"team\" has \
             a minimum of 10m cpu and it asks for 5m: write drainhook.io/cpu-request: \"10m\", on \
             the pod or on its namespace",
            "the API server would refuse the pod for its sidecar, because LimitRange \"team\" has \
             a minimum of 64Mi memory and it asks for 8Mi and LimitRange \"team\" has a minimum of \
             64Mi memory and it is limited to 32Mi: write drainhook.io/memory-request: \"64Mi\" \
             and drainhook.io/memory-limit: \"64Mi\", on the pod or on its namespace",
        ]
    );
}

#[test]
fn a_maximum_below_what_the_sidecar_may_use_is_told() {
    let range = container(json!({"max": {"memory": "16Mi"}}));
    let said = faults(&[&range], &usual()).concat();
    assert!(
        said.ends_with("write drainhook.io/memory-limit: \"16Mi\", on the pod or on its namespace"),
        "{said}"
    );
}

#[test]
fn a_ratio_is_met_by_asking_for_more_and_by_no_limit_that_is_wider_than_need_be() {
    let range = container(json!({
        "default": {"cpu": "500m"}, "maxLimitRequestRatio": {"cpu": 4, "memory": 3},
    }));
    let said = faults(&[&range], &usual());
    assert_eq!(said.len(), 2, "{said:?}");
    for (said, written) in said.iter().zip([
        "write drainhook.io/cpu-request: \"13m\" and drainhook.io/cpu-limit: \"50m\", on",
        "write drainhook.io/memory-request: \"11Mi\", on",
    ]) {
        assert!(said.contains(written), "{said}");
    }
}

#[test]
fn a_ratio_alone_asks_for_a_limit() {
    let range = container(json!({"maxLimitRequestRatio": {"cpu": 4}}));
    let said = faults(&[&range], &usual()).concat();
    assert!(said.contains("and it has no limit: write"), "{said}");
    assert!(said.contains("drainhook.io/cpu-limit: "), "{said}");
}

#[test]
fn a_default_limit_below_the_request_is_told() {
    let range = container(json!({"default": {"cpu": "4m"}}));
    let said = faults(&[&range], &usual()).concat();
    assert!(said.contains("it asks for 5m cpu and the default of a LimitRange limits it to 4m"));
    assert!(
        said.contains("write drainhook.io/cpu-limit: \"50m\", on"),
        "{said}"
    );
}

#[test]
fn what_nobody_can_meet_is_told_without_advice() {
    let low = container(json!({"max": {"memory": "16Mi"}}));
    let high = container(json!({"min": {"memory": "64Mi"}}));
    let said = faults(&[&low, &high], &usual()).concat();
    assert!(said.ends_with("no value meets all of it"), "{said}");
}

#[test]
fn what_is_not_about_containers_or_not_about_the_sidecar_is_passed_over() {
    let others = range(&json!([
        {"type": "Pod", "max": {"memory": "1Mi"}},
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}},
        {"type": "Container", "min": {"ephemeral-storage": "1Gi"}},
    ]));
    let quota = quota(&json!({"limits.cpu": "1"}), &json!({}));
    assert_eq!(faults(&[&others], &usual()), [""; 0]);
    let plain = json!({"spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    assert_eq!(faults(&[&quota], &plain), [""; 0]);
    let whole = injected(
        &[],
        &json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}),
    );
    assert_eq!(faults(&[&quota], &whole), [""; 0]);
}

#[test]
fn a_ratio_that_is_met_anyway_changes_nothing_of_the_advice() {
    let range = container(json!({
        "min": {"memory": "10Mi"}, "maxLimitRequestRatio": {"memory": 8},
    }));
    let said = faults(&[&range], &usual()).concat();
    assert!(
        said.contains(": write drainhook.io/memory-request: \"10Mi\", on"),
        "{said}"
    );
}

#[test]
fn a_sidecar_whose_resources_somebody_took_away_meets_no_quota() {
    let mut pod = usual();
    let sidecar = &mut pod["spec"]["containers"][1];
    sidecar.as_object_mut().unwrap().remove("resources");
    for (counted, key) in [
        ("cpu", "cpu-request"),
        ("requests.cpu", "cpu-request"),
        ("limits.cpu", "cpu-limit"),
        ("memory", "memory-request"),
        ("requests.memory", "memory-request"),
        ("limits.memory", "memory-limit"),
    ] {
        let quota = quota(&json!({counted: "4"}), &json!({}));
        let said = faults(&[&quota], &pod).concat();
        assert!(said.contains("and it has none: write"), "{counted}: {said}");
        assert!(said.contains(key), "{counted}: {said}");
    }
}

/// Amounts as people write them.
fn amount(unit: &'static str) -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        1 => (1_u32..200).prop_map(move |count| Some(format!("{count}{unit}"))),
    ]
}

proptest! {
    #[test]
    fn what_is_written_as_told_meets_everything(
        cpu in (amount("m"), amount("m"), amount("m"), prop::option::of(1_u32..20)),
        memory in (amount("Mi"), amount("Mi"), amount("Mi"), prop::option::of(1_u32..20)),
        counted in prop::sample::subsequence(vec!["limits.cpu", "limits.memory", "cpu"], 0..3),
    ) {
        let mut item = json!({});
        for (name, (min, max, default, ratio)) in [("cpu", cpu), ("memory", memory)] {
            for (key, value) in [("min", min), ("max", max), ("default", default)] {
                if let Some(value) = value {
                    item[key][name] = json!(value);
                }
            }
            if let Some(ratio) = ratio {
                item["maxLimitRequestRatio"][name] = json!(ratio);
            }
        }
        let hard = counted.iter().map(|key| ((*key).to_owned(), json!("9"))).collect();
        let objects = [container(item), quota(&Value::Object(hard), &json!({}))];
        let all: Vec<&Value> = objects.iter().collect();
        let mut written = Vec::new();
        for said in faults(&all, &usual()) {
            if said.ends_with("no value meets all of it") {
                return Ok(());
            }
            let (_, advice) = said.split_once(": write ").unwrap();
            for part in advice.trim_end_matches(", on the pod or on its namespace").split(" and ") {
                let (key, value) = part.split_once(": ").unwrap();
                written.push((key.to_owned(), value.trim_matches('"').to_owned()));
            }
        }
        let written: Vec<_> = written.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let pod = injected(&written, &json!({}));
        prop_assert_eq!(faults(&all, &pod), Vec::<String>::new());
    }
}
