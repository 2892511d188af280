//! What is wrong with an injection that a pod already has.
//!
//! The kubelet ignores the answer to a hook: one that shows a wrong token, or asks a port where
//! nobody listens, ends Envoy at once. So what belongs together is compared.

use serde_json::Value;

use crate::existing::{self, Existing, Named};
use crate::hook;
use crate::message::quoted;
use crate::pod::{Container, DEFAULT_GRACE, Pod};
use crate::settings::GRACE_RESERVE;
use crate::value;

/// Everything that is wrong with the injection in a pod; nothing where there is none.
#[must_use]
pub fn injection_faults(pod: &Value) -> Vec<String> {
    let Ok(pod) = Pod::read(pod) else {
        return Vec::new();
    };
    let hooks: Vec<(&Container<'_>, &Value)> = pod
        .running()
        .filter_map(|container| Some((container, container.pre_stop?)))
        .collect();
    match existing::find(&pod) {
        Some(Named::Ours(sidecar)) if !sidecar.is_hand_written() => {
            faults_with_sidecar(&pod, &sidecar, &hooks)
        }
        Some(Named::Ours(_)) => Vec::new(),
        Some(Named::Other(_)) | None => hooks
            .iter()
            .filter(|(_, hook)| hook::is_ours(hook, None))
            .map(|(container, _)| {
                format!(
                    "the preStop hook of {} asks a sidecar that is not there: the container would \
                     end at once",
                    quoted(container.name)
                )
            })
            .collect(),
    }
}

fn faults_with_sidecar(
    pod: &Pod<'_>,
    sidecar: &Existing<'_>,
    hooks: &[(&Container<'_>, &Value)],
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut drains = false;
    for (container, hook) in hooks {
        if !hook::is_ours(hook, Some(sidecar.port)) {
            // A hook of somebody else's may call the sidecar in its own way.
            drains |= hook.get("httpGet").is_none();
            continue;
        }
        let get = &hook["httpGet"];
        drains |= get["path"] != "/wait";
        let name = quoted(container.name);
        if get["port"] != sidecar.port {
            faults.push(format!(
                "the preStop hook of {name} asks port {}, and the sidecar listens on {}: the \
                 container would end at once",
                get["port"], sidecar.port
            ));
        }
        if hook::token(hook) != sidecar.token.as_deref() {
            faults.push(format!(
                "the preStop hook of {name} does not show the sidecar's token: the container would \
                 end at once"
            ));
        }
        if pod.host_network && get["host"] != "127.0.0.1" {
            faults.push(format!(
                "the preStop hook of {name} asks the node's address, and the sidecar listens on \
                 127.0.0.1: the container would end at once"
            ));
        }
    }
    if !drains {
        faults
            .push("no preStop hook asks the sidecar for /shutdown: Envoy is never drained".into());
    }
    let bound = sidecar.container.variable("SHUTDOWN_MANAGER_DRAIN_TIMEOUT");
    if let Some(bound) = bound.and_then(|text| value::duration(text).ok()) {
        let grace = pod.grace.unwrap_or(DEFAULT_GRACE);
        let needed = (bound + GRACE_RESERVE).as_secs();
        if u64::try_from(grace).unwrap_or_default() < needed {
            faults.push(format!(
                "terminationGracePeriodSeconds {grace} is too short for a drain of up to {}: {needed} \
                 is needed",
                value::duration_text(bound)
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(token: &str, hook: Value, grace: i64) -> Value {
        json!({"spec": {
            "terminationGracePeriodSeconds": grace,
            "containers": [
                {"name": "envoy", "lifecycle": {"preStop": hook}},
                {"name": "shutdown-manager", "env": [
                    {"name": "SHUTDOWN_MANAGER_PORT", "value": "8090"},
                    {"name": "SHUTDOWN_MANAGER_DRAIN_TIMEOUT", "value": "300s"},
                    {"name": "SHUTDOWN_MANAGER_TOKEN", "value": token},
                ]},
            ],
        }})
    }

    fn hook(path: &str, port: u16, token: &str) -> Value {
        let header = json!({"name": "x-drainhook-token", "value": token});
        json!({"httpGet": {"path": path, "port": port, "httpHeaders": [header]}})
    }

    #[test]
    fn what_belongs_together_has_no_fault() {
        let faults = injection_faults(&pod("t", hook("/shutdown", 8090, "t"), 305));
        assert_eq!(faults, [""; 0]);
        assert_eq!(
            injection_faults(&json!({"spec": {"containers": [{"name": "a"}]}})),
            [""; 0]
        );
    }

    #[test]
    fn a_token_a_port_and_a_grace_period_that_do_not_fit_are_each_told() {
        for (pod, said) in [
            (pod("t", hook("/shutdown", 8090, "other"), 305), "token"),
            (
                pod("t", hook("/shutdown", 8091, "t"), 305),
                "asks port 8091",
            ),
            (pod("t", hook("/shutdown", 8090, "t"), 30), "too short"),
            (pod("t", hook("/wait", 8090, "t"), 305), "never drained"),
        ] {
            let faults = injection_faults(&pod);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains(said), "{faults:?}");
        }
    }

    #[test]
    fn a_hook_without_its_sidecar_is_told() {
        let pod = json!({"spec": {"containers": [
            {"name": "envoy", "lifecycle": {"preStop": hook("/shutdown", 8090, "t")}},
        ]}});
        assert!(injection_faults(&pod)[0].contains("not there"));
    }

    #[test]
    fn one_hook_that_drains_is_enough_wherever_it_stands() {
        let drain = hook("/shutdown", 8090, "t");
        let wait = hook("/wait", 8090, "t");
        let own = json!({"exec": {"command": ["shutdown-manager", "shutdown"]}});
        let elsewhere = json!({"httpGet": {"path": "/bye", "port": 80}});
        for (hooks, is_drained) in [
            ([&drain, &wait], true),
            ([&wait, &drain], true),
            ([&own, &wait], true),
            ([&wait, &own], true),
            ([&wait, &wait], false),
            ([&elsewhere, &wait], false),
        ] {
            let mut pod = pod("t", hooks[0].clone(), 305);
            let app = json!({"name": "app", "lifecycle": {"preStop": hooks[1]}});
            pod["spec"]["containers"].as_array_mut().unwrap().push(app);
            let faults = injection_faults(&pod);
            assert_eq!(faults.is_empty(), is_drained, "{hooks:?}: {faults:?}");
        }
    }

    #[test]
    fn on_the_nodes_network_a_hook_must_ask_the_loopback_address() {
        let mut pod = pod("t", hook("/shutdown", 8090, "t"), 305);
        assert_eq!(injection_faults(&pod), [""; 0]);
        pod["spec"]["hostNetwork"] = json!(true);
        assert!(
            injection_faults(&pod)
                .concat()
                .contains("the node's address")
        );
        pod["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"]["host"] =
            json!("127.0.0.1");
        assert_eq!(injection_faults(&pod), [""; 0]);
    }

    #[test]
    fn the_grace_period_must_hold_the_bound_and_its_reserve() {
        let faults = |grace| injection_faults(&pod("t", hook("/shutdown", 8090, "t"), grace));
        assert_eq!(faults(305), [""; 0]);
        assert!(faults(304).concat().ends_with("305 is needed"));
    }

    #[test]
    fn one_that_was_written_by_hand_is_its_authors_matter() {
        let mut pod = pod("t", hook("/shutdown", 9000, "other"), 30);
        pod["spec"]["containers"][1]["args"] = json!(["serve", "--serve-port=9000"]);
        assert_eq!(injection_faults(&pod), [""; 0]);
    }
}
