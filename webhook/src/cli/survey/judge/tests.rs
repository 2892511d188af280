use serde_json::json;

use super::*;
use crate::{InstallationDefaults, UnknownKeys};

fn namespace(opts_in: bool) -> Namespace {
    let labels = json!({ crate::NAMESPACE_LABEL: if opts_in { "enabled" } else { "no" } });
    Namespace::from_object(&json!({"metadata": {"name": "edge", "labels": labels}}))
}

fn plain(annotations: Value) -> Value {
    json!({
        "metadata": {"name": "gateway", "namespace": "edge", "annotations": annotations},
        "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]},
    })
}

fn asks() -> Value {
    json!({"drainhook.io/inject": "true"})
}

/// As the webhook makes it.
fn injected() -> Value {
    injected_by(Origin::Admission, Some(&crate::Token::from_random(7)))
}

fn injected_by(origin: Origin, token: Option<&crate::Token>) -> Value {
    let pod = plain(asks());
    let configuration = Configuration::default();
    let request = Request {
        pod: &pod,
        namespace: None,
        configuration: &configuration,
        token,
        origin,
    };
    let decision = crate::decide(&request).unwrap();
    assert!(matches!(decision, Decision::Inject { .. }), "{decision:?}");
    decision.applied_to(&pod)
}

fn state(pod: &Value, opts_in: bool) -> Option<State> {
    verdict_of(pod, opts_in).map(|verdict| verdict.state)
}

fn verdict_of(pod: &Value, opts_in: bool) -> Option<Verdict> {
    with_conditions(
        opts_in,
        &Limits::NONE,
        &Configuration::default(),
        |conditions| judge(pod, conditions),
    )
}

/// Where somebody said which image the installation has.
fn verdict_with_the_image_of_the_installation(pod: &Value) -> Verdict {
    let said = "image: mirror/shutdown-manager:v0.1.0";
    let configuration = Configuration {
        defaults: InstallationDefaults::parse(said).unwrap(),
        ..Configuration::default()
    };
    with_conditions(false, &Limits::NONE, &configuration, |conditions| {
        judge(pod, conditions)
    })
    .unwrap()
}

fn with_conditions<T>(
    opts_in: bool,
    limits: &Limits,
    configuration: &Configuration,
    ask: impl FnOnce(Conditions<'_>) -> T,
) -> T {
    ask(Conditions {
        namespace: &namespace(opts_in),
        limits,
        configuration,
    })
}

fn again(pod: &Value, limits: &Limits) -> Again {
    with_conditions(false, limits, &Configuration::default(), |conditions| {
        Again::of(pod, conditions)
    })
}

#[test]
fn a_pod_that_asks_and_has_none_is_found_whoever_asks_for_it() {
    assert_eq!(state(&plain(asks()), false), Some(State::Missing));
    assert_eq!(state(&plain(json!({})), true), Some(State::Missing));
    assert_eq!(state(&plain(json!({})), false), None);
    let out = plain(json!({"drainhook.io/inject": "false"}));
    assert_eq!(state(&out, true), None);
}

#[test]
fn a_pod_without_envoy_in_a_namespace_that_opted_in_takes_no_part() {
    let pod = json!({
        "metadata": {"name": "app", "namespace": "edge"},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    assert_eq!(state(&pod, true), None);
}

#[test]
fn what_the_webhook_has_made_is_fine() {
    assert_eq!(state(&injected(), false), Some(State::Fine));
}

#[test]
fn a_token_that_does_not_fit_and_a_hook_without_its_sidecar_are_broken() {
    let mut pod = injected();
    let header = "/spec/containers/0/lifecycle/preStop/httpGet/httpHeaders/0/value";
    *pod.pointer_mut(header).unwrap() = json!("another");
    assert_eq!(state(&pod, false), Some(State::Broken));
    let mut pod = injected();
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    assert_eq!(state(&pod, false), Some(State::Broken));
}

#[test]
fn a_sidecar_that_does_not_run_is_found_and_one_that_is_about_to_is_none() {
    for (container, expected) in [
        (
            json!({"waiting": {"reason": "ImagePullBackOff"}}),
            State::Stopped,
        ),
        (json!({"terminated": {"reason": "Error"}}), State::Stopped),
        (
            json!({"waiting": {"reason": "ContainerCreating"}}),
            State::Fine,
        ),
        (json!({"running": {}}), State::Fine),
    ] {
        let mut pod = injected();
        pod["status"] = json!({"containerStatuses": [{"name": NAME, "state": container}]});
        assert_eq!(state(&pod, false), Some(expected), "{container}");
    }
}

#[test]
fn the_drain_of_another_version_is_to_know() {
    let mut pod = injected();
    let status = &mut pod["metadata"]["annotations"]["drainhook.io/status"];
    *status = json!(status.as_str().unwrap().replace(Status::VERSION, "0.0.1"));
    let verdict = verdict_of(&pod, false).unwrap();
    assert_eq!(verdict.state, State::Outdated);
    assert!(
        verdict.messages[0].contains("of drainhook 0.0.1"),
        "{verdict:?}"
    );
}

/// As `kubectl get` has it: the API server adds to what it was given.
fn as_the_cluster_has_it(mut pod: Value) -> Value {
    let mount = json!({"name": "token", "mountPath": "/var/run/secrets", "readOnly": true});
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container["volumeMounts"] = json!([mount]);
        container["terminationMessagePath"] = json!("/dev/termination-log");
        if let Some(hook) = container.pointer_mut("/lifecycle/preStop/httpGet") {
            hook["scheme"] = json!("HTTP");
        }
    }
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["spec"]["nodeName"] = json!("node-1");
    pod["metadata"]["uid"] = json!("d0c5");
    pod["status"] = json!({"phase": "Running"});
    pod
}

#[test]
fn a_drain_that_is_no_good_is_taken_back_and_given_anew() {
    let mut pod = as_the_cluster_has_it(injected());
    let header = "/spec/containers/0/lifecycle/preStop/httpGet/httpHeaders/0/value";
    *pod.pointer_mut(header).unwrap() = json!("another");
    assert!(again(&pod, &Limits::NONE).begins_anew);
    // The command that is printed reads it as text.
    let bare = crate::cli::uninject_text(&pod.to_string()).unwrap();
    let bare: Value = serde_json::from_str(&bare).unwrap();
    assert_eq!(state(&bare, false), Some(State::Missing));
    assert_eq!(bare["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(bare["spec"]["containers"][0]["lifecycle"], Value::Null);
}

#[test]
fn one_that_would_get_no_drain_anew_is_not_to_be_replaced() {
    // Nobody asks but the injection itself.
    let mut silent = injected();
    silent["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("drainhook.io/inject");
    // It would be refused.
    let mut refused = injected();
    refused["metadata"]["annotations"]["drainhook.io/port"] = json!("80");
    for pod in [silent, refused, plain(asks())] {
        assert!(!again(&pod, &Limits::NONE).begins_anew, "{pod:#}");
    }
}

#[test]
fn one_that_lacks_its_token_is_incomplete() {
    let mut pod = injected_by(Origin::Manifest, None);
    let verdict = verdict_of(&pod, false).unwrap();
    assert_eq!(verdict.state, State::Incomplete);
    // The hook is there, and only shows no token.
    assert_eq!(
        verdict.messages,
        [
            "its drain lacks spec.containers[shutdown-manager].env[SHUTDOWN_MANAGER_TOKEN]; the \
             webhook would write spec.containers[envoy].lifecycle.preStop anew, to go with that"
        ]
    );
    // Both are told, and what mends more decides.
    let sidecars = pod["spec"]["containers"].as_array_mut().unwrap();
    let sidecar = sidecars.iter_mut().find(|one| one["name"] == NAME).unwrap();
    sidecar["image"] = json!("mirror/shutdown-manager:v0.0.1");
    let verdict = verdict_with_the_image_of_the_installation(&pod);
    assert_eq!(verdict.state, State::Outdated);
    assert_eq!(verdict.messages.len(), 2, "{verdict:?}");
}

#[test]
fn one_that_would_be_refused_is_told_why() {
    let mut annotations = asks();
    annotations["drainhook.io/port"] = json!("80");
    let verdict = verdict_of(&plain(annotations), false).unwrap();
    assert_eq!(verdict.state, State::Refused);
    assert!(
        verdict.messages[0].contains("drainhook.io/port"),
        "{verdict:?}"
    );
}

#[test]
fn what_the_installation_says_decides_as_in_the_webhook() {
    let judged = |pod: &Value, configuration: &Configuration| {
        let verdict = with_conditions(false, &Limits::NONE, configuration, |conditions| {
            judge(pod, conditions)
        });
        verdict.unwrap().state
    };
    let usual = Configuration::default();

    // Only the installation's defaults say where the Envoy of this pod is.
    let mut own = plain(asks());
    own["spec"]["containers"][0] = json!({"name": "proxy", "image": "proxy:1"});
    let defaults = InstallationDefaults::parse("envoy: proxy").unwrap();
    let told = Configuration {
        defaults,
        ..Configuration::default()
    };
    assert_eq!(judged(&own, &usual), State::Refused);
    assert_eq!(judged(&own, &told), State::Missing);

    // What the webhook refuses must not be replaced: it would be lost.
    let mut newer = plain(asks());
    newer["metadata"]["annotations"]["drainhook.io/newer"] = json!("1");
    let lenient = Configuration {
        unknown_keys: UnknownKeys::Warn,
        ..Configuration::default()
    };
    assert_eq!(judged(&newer, &usual), State::Refused);
    assert_eq!(judged(&newer, &lenient), State::Missing);
}

#[test]
fn a_pod_that_cannot_be_judged_is_said_and_is_not_fine() {
    let verdict = unjudged(&DecideError::GivesAnother);
    assert_eq!(verdict.state, State::Unjudged);
    assert!(
        verdict.messages[0].contains("please report it: the patch gives another pod"),
        "{verdict:?}"
    );
}

fn quota() -> Limits {
    Limits::of(&[json!({
        "kind": "ResourceQuota",
        "metadata": {"name": "team"},
        "spec": {"hard": {"limits.cpu": "4"}},
    })])
}

#[test]
fn a_pod_that_a_quota_would_refuse_is_told_the_key_and_is_not_to_be_restarted() {
    let says = |faults: &[String]| {
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("ResourceQuota \"team\""), "{faults:?}");
        assert!(
            faults[0].contains("drainhook.io/cpu-limit: \"50m\""),
            "{faults:?}"
        );
    };
    let missing = again(&plain(asks()), &quota());
    says(&missing.refused);
    let fine = again(&injected(), &quota());
    says(&fine.refused);
    says(&fine.refused_as_it_is);
    assert!(!fine.begins_anew);

    for (state, becomes) in [
        (State::Missing, State::Refused),
        (State::Fine, State::RefusedAnew),
        (State::Broken, State::Broken),
        (State::Outdated, State::Outdated),
    ] {
        let mut verdict = Verdict {
            state,
            opted_in_through: Some("pod"),
            messages: Vec::new(),
        };
        verdict.refused_anew(&fine.refused);
        assert_eq!(verdict.state, becomes);
        says(&verdict.messages);
    }
}

#[test]
fn one_whose_key_has_been_written_meanwhile_is_refused_only_as_its_template_has_it() {
    let mut pod = injected();
    pod["metadata"]["annotations"]["drainhook.io/cpu-limit"] = json!("50m");
    let again = again(&pod, &quota());
    assert_eq!(again.refused, Vec::<String>::new());
    assert_eq!(again.refused_as_it_is.len(), 1);
    assert!(again.begins_anew);
}

#[test]
fn the_drain_with_another_image_is_to_know() {
    let mut pod = injected();
    let sidecars = pod["spec"]["containers"].as_array_mut().unwrap();
    let sidecar = sidecars.iter_mut().find(|one| one["name"] == NAME).unwrap();
    sidecar["image"] = json!("mirror/shutdown-manager:v0.0.1");
    let verdict = verdict_with_the_image_of_the_installation(&pod);
    assert_eq!(verdict.state, State::Outdated);
    assert!(verdict.messages[0].contains(":v0.0.1"), "{verdict:?}");
    assert_eq!(state(&pod, false), Some(State::Fine), "nobody said which");
}
