//! What is to be said of one pod: pure.

use serde::Serialize;
use serde_json::Value;

use crate::cli::exit::{Exit, Failure};
use crate::existing::{self, Named};
use crate::pod::Pod;
use crate::sidecar::NAME;
use crate::status::Status;
use crate::{
    Action, Configuration, Decision, Explanation, Namespace, Origin, Request, Token, explain,
    uninject,
};

/// How a pod that takes part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Its drain is there and works.
    Fine,
    /// It has none: the webhook did not see it.
    Missing,
    /// It has none and would get none: something in it has to be changed.
    Refused,
    /// It has one that does not work.
    Broken,
    /// It has one whose container does not run: made again, it would not run either.
    Stopped,
    /// It has one that works, and lacks something.
    Incomplete,
    /// It has one of another version.
    Outdated,
}

/// How a pod stands, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    pub(super) state: State,
    /// `pod` or `namespace`; nothing where an injection is all that speaks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opted_in_through: Option<&'static str>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) messages: Vec<String>,
}

/// Judges a pod as the cluster has it; nothing where it takes no part.
///
/// # Errors
/// A fault of ours.
pub(super) fn judge(
    pod: &Value,
    namespace: &Namespace,
    configuration: &Configuration,
) -> Result<Option<Verdict>, Failure> {
    // Whether one is missing is what is asked.
    let token = Token::dry_run();
    let request = Request {
        pod,
        namespace: Some(namespace),
        configuration,
        token: Some(&token),
        origin: Origin::Admission,
    };
    let (decision, explained) = explain(&request).map_err(|error| {
        let (namespace, name) = super::read::name(pod);
        Failure::new(Exit::Software, format!("{namespace}/{name}: {error}"))
    })?;
    let through = explained.opted_in_through;
    if through.is_none() && explained.injection_faults.is_empty() {
        return Ok(None);
    }
    let (state, messages) = match is_injected(pod) {
        true => injected(pod, &decision, explained),
        false => match not_injected(&decision, explained) {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    Ok(Some(Verdict {
        state,
        opted_in_through: through,
        messages,
    }))
}

/// Whether the webhook gives a pod a drain anew once the one that it has is taken back. Whoever
/// replaces the pod would otherwise lose it.
pub(super) fn begins_anew(
    pod: &Value,
    namespace: &Namespace,
    configuration: &Configuration,
) -> bool {
    let Ok(Some(removal)) = uninject(pod) else {
        return false;
    };
    let verdict = judge(&removal.pod, namespace, configuration);
    matches!(verdict, Ok(Some(verdict)) if verdict.state == State::Missing)
}

fn is_injected(pod: &Value) -> bool {
    Pod::read(pod).is_ok_and(|pod| matches!(existing::find(&pod), Some(Named::Ours(_))))
}

fn injected(pod: &Value, decision: &Decision, explained: Explanation) -> (State, Vec<String>) {
    let faults = explained.injection_faults;
    if let Some(stopped) = stopped(pod) {
        return (State::Stopped, [faults, vec![stopped]].concat());
    }
    if !faults.is_empty() {
        return (State::Broken, faults);
    }
    if let Decision::Inject {
        action: Action::Completed,
        ..
    } = decision
    {
        let lacks = explained.changes.iter().map(|change| &change.place);
        let lacks: Vec<_> = lacks.map(String::as_str).collect();
        let message = format!("its drain lacks {}", lacks.join(", "));
        return (State::Incomplete, vec![message]);
    }
    match Status::of(pod) {
        Some(Status { version, .. }) if version != Status::VERSION => {
            let ours = Status::VERSION;
            let message = format!("its drain is of drainhook {version}, and this is {ours}");
            (State::Outdated, vec![message])
        }
        _ => (State::Fine, Vec::new()),
    }
}

/// Nothing for pods that are left as they are for a good reason.
fn not_injected(decision: &Decision, explained: Explanation) -> Option<(State, Vec<String>)> {
    if !explained.injection_faults.is_empty() {
        return Some((State::Broken, explained.injection_faults));
    }
    match decision {
        Decision::Inject { .. } => {
            let message = "it asks for a drain and has none: the webhook did not see it".to_owned();
            Some((State::Missing, vec![message]))
        }
        Decision::Reject { messages, .. } => Some((State::Refused, messages.clone())),
        Decision::Skip { .. } => None,
    }
}

/// Why the sidecar does not run, where it does not. One that has yet to start is no news.
fn stopped(pod: &Value) -> Option<String> {
    let of = |list: &str| pod["status"][list].as_array().into_iter().flatten();
    let mut all = of("containerStatuses").chain(of("initContainerStatuses"));
    let status = all.find(|status| status["name"] == NAME)?;
    let state = &status["state"];
    let waiting = state["waiting"]["reason"].as_str();
    let reason = match waiting {
        // Waits for its turn, or for the first pull.
        Some("ContainerCreating" | "PodInitializing") => None,
        Some(reason) => Some(reason),
        None => state["terminated"]["reason"].as_str(),
    };
    let reason = reason?;
    Some(format!(
        "container {NAME:?} does not run ({reason}): Envoy would end at once"
    ))
}

#[cfg(test)]
mod tests {
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
        let mut pod = plain(asks());
        let token = crate::Token::from_random(7);
        let configuration = Configuration::default();
        let request = Request {
            pod: &pod,
            namespace: None,
            configuration: &configuration,
            token: Some(&token),
            origin: Origin::Admission,
        };
        let Decision::Inject { patch, .. } = crate::decide(&request).unwrap() else {
            panic!("no injection");
        };
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    fn state(pod: &Value, opts_in: bool) -> Option<State> {
        judge(pod, &namespace(opts_in), &Configuration::default())
            .unwrap()
            .map(|verdict| verdict.state)
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
        let verdict = judge(&pod, &namespace(false), &Configuration::default())
            .unwrap()
            .unwrap();
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
        assert!(begins_anew(
            &pod,
            &namespace(false),
            &Configuration::default()
        ));
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
            assert!(
                !begins_anew(&pod, &namespace(false), &Configuration::default()),
                "{pod:#}"
            );
        }
    }

    #[test]
    fn one_that_lacks_its_token_is_incomplete() {
        let mut pod = plain(asks());
        let configuration = Configuration::default();
        let request = Request {
            pod: &pod,
            namespace: None,
            configuration: &configuration,
            token: None,
            origin: Origin::Manifest,
        };
        let Decision::Inject { patch, .. } = crate::decide(&request).unwrap() else {
            panic!("no injection");
        };
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(state(&pod, false), Some(State::Incomplete));
    }

    #[test]
    fn one_that_would_be_refused_is_told_why() {
        let mut annotations = asks();
        annotations["drainhook.io/port"] = json!("80");
        let verdict = judge(
            &plain(annotations),
            &namespace(false),
            &Configuration::default(),
        );
        let verdict = verdict.unwrap().unwrap();
        assert_eq!(verdict.state, State::Refused);
        assert!(
            verdict.messages[0].contains("drainhook.io/port"),
            "{verdict:?}"
        );
    }

    #[test]
    fn what_the_installation_says_decides_as_in_the_webhook() {
        let judged = |pod: &Value, configuration: &Configuration| {
            let verdict = judge(pod, &namespace(false), configuration);
            verdict.unwrap().unwrap().state
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
}
