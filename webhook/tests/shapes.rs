//! Shapes in every combination, where a golden of each would tell nothing new.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use drainhook_webhook::{
    Configuration, Decision, Namespace, Origin, Request, SkipReason, Token, decide, uninject,
};
use serde_json::{Value, json};

fn decision(pod: &Value) -> Decision {
    decision_in(None, pod)
}

fn decision_in(namespace: Option<&Namespace>, pod: &Value) -> Decision {
    let configuration = Configuration::default();
    let request = Request {
        pod,
        namespace,
        configuration: &configuration,
        token: None,
        origin: Origin::Admission,
    };
    decide(&request).unwrap()
}

#[test]
fn a_hook_of_each_kind_is_refused_kept_or_replaced_as_the_pod_says() {
    for (kind, handler) in [
        ("exec", json!({"command": ["sleep", "15"]})),
        ("httpGet", json!({"path": "/drain", "port": 9000})),
        ("tcpSocket", json!({"port": 9000})),
        ("sleep", json!({"seconds": 15})),
    ] {
        for word in ["reject", "keep", "replace"] {
            let hook = json!({kind: handler});
            let pod = json!({
                "metadata": {
                    "generateName": "edge-",
                    "annotations": {"drainhook.io/inject": "true", "drainhook.io/pre-stop": word},
                },
                "spec": {"containers": [{
                    "name": "envoy", "image": "envoyproxy/envoy:v1.36.2",
                    "lifecycle": {"preStop": hook},
                }]},
            });
            let patched = match decision(&pod) {
                Decision::Reject { messages, .. } => {
                    assert_eq!(word, "reject", "{kind}: {messages:?}");
                    assert!(messages[0].contains(&format!("({kind})")), "{messages:?}");
                    continue;
                }
                Decision::Inject { patch, .. } => support::apply(&pod, &json!(patch)).unwrap(),
                Decision::Skip { reason, .. } => panic!("{kind}, {word}: {reason:?}"),
            };
            let now = &patched["spec"]["containers"][0]["lifecycle"]["preStop"];
            match word {
                "keep" => assert_eq!(*now, hook),
                "replace" => assert_eq!(now["httpGet"]["path"], "/shutdown", "{kind}"),
                _ => panic!("{kind} was not refused: {now}"),
            }
            assert_eq!(
                uninject(&patched).unwrap().unwrap().pod,
                pod,
                "{kind}, {word}"
            );
        }
    }
}

#[test]
fn a_pod_that_is_too_large_is_refused_only_where_it_asked_itself() {
    let containers: Vec<_> = (0..251)
        .map(|number| json!({"name": format!("c{number}"), "image": "example/app:1"}))
        .collect();
    let mut pod = json!({"metadata": {"name": "many"}, "spec": {"containers": containers}});
    let namespace = Namespace::from_object(&json!({
        "metadata": {"name": "edge", "labels": {"drainhook.io/inject": "enabled"}},
    }));
    let Decision::Skip { reason, warnings } = decision_in(Some(&namespace), &pod) else {
        panic!("only its namespace asked");
    };
    assert_eq!(reason, SkipReason::Unfit);
    assert!(warnings[0].contains("251 containers"), "{warnings:?}");

    pod["metadata"]["annotations"] = json!({"drainhook.io/inject": "true"});
    let Decision::Reject { messages, .. } = decision_in(Some(&namespace), &pod) else {
        panic!("the pod asked");
    };
    assert!(messages[0].contains("251 containers"), "{messages:?}");
}

#[test]
fn a_hook_that_asked_the_sidecars_port_before_there_was_one_is_given_back_as_it_was() {
    let pod = json!({
        "metadata": {"annotations": {"drainhook.io/inject": "true"}},
        "spec": {"containers": [{
            "name": "envoy", "image": "envoyproxy/envoy:v1.36.2",
            "lifecycle": {"preStop": {"httpGet": {"path": "/shutdown", "port": 8090}}},
        }]},
    });
    let configuration = Configuration::default();
    let token = Token::from_random(7);
    let request = |pod, origin, token| Request {
        pod,
        namespace: None,
        configuration: &configuration,
        token,
        origin,
    };
    let written = decide(&request(&pod, Origin::Manifest, None)).unwrap();
    let Decision::Inject { patch, .. } = written else {
        panic!("{written:?}");
    };
    let written = support::apply(&pod, &json!(patch)).unwrap();
    // At its creation the hook gets the token that the sidecar asks for.
    let created = decide(&request(&written, Origin::Admission, Some(&token))).unwrap();
    let Decision::Inject { patch, .. } = created else {
        panic!("{created:?}");
    };
    let created = support::apply(&written, &json!(patch)).unwrap();
    let hook = &created["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"];
    assert_eq!(hook["httpHeaders"][0]["value"], token.reveal());
    assert_eq!(uninject(&created).unwrap().unwrap().pod, pod);
}

#[test]
fn what_is_no_pod_is_refused_only_where_it_asked_itself() {
    let mut pod = json!({"metadata": {"name": "odd"}, "spec": {"containers": "none"}});
    let namespace = Namespace::from_object(&json!({
        "metadata": {"name": "edge", "labels": {"drainhook.io/inject": "enabled"}},
    }));
    // The API server itself says what is wrong with it.
    assert_eq!(decision_in(Some(&namespace), &pod).reason(), "unfit");
    pod["metadata"]["annotations"] = json!({"drainhook.io/inject": "true"});
    assert_eq!(decision_in(Some(&namespace), &pod).reason(), "malformed");
}

#[test]
fn an_injection_whose_status_was_lost_is_taken_back_as_far_as_it_can_be_told() {
    let pod = json!({
        "metadata": {"annotations": {"drainhook.io/inject": "true"}},
        "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]},
    });
    let Decision::Inject { patch, .. } = decision(&pod) else {
        panic!("no injection");
    };
    let mut injected = support::apply(&pod, &json!(patch)).unwrap();
    let annotations = injected["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.shift_remove("drainhook.io/status").unwrap();
    let removal = uninject(&injected).unwrap().unwrap();
    assert!(
        removal.warnings[0].contains("is missing or broken"),
        "{:?}",
        removal.warnings
    );
    let containers = removal.pod["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert!(
        containers[0].pointer("/lifecycle/preStop").is_none(),
        "{containers:?}"
    );
}

/// What completes an injection after somebody wrote over its status notes what it added itself.
#[test]
fn a_status_that_tells_of_hooks_but_not_of_the_sidecar_leaves_no_hook_without_a_sidecar() {
    let envoy = json!({"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"});
    let late = json!({"name": "late", "image": "example/late:1"});
    let pod = json!({
        "metadata": {"annotations": {"drainhook.io/inject": "true"}},
        "spec": {"containers": [envoy]},
    });
    let injected = |pod: &Value| {
        let Decision::Inject { patch, .. } = decision(pod) else {
            panic!("no injection");
        };
        support::apply(pod, &json!(patch)).unwrap()
    };
    for over in ["mine", r#"{"version":"0.1.0"}"#] {
        let mut written = injected(&pod);
        written["metadata"]["annotations"]["drainhook.io/status"] = json!(over);
        let containers = written["spec"]["containers"].as_array_mut().unwrap();
        containers.push(late.clone());
        let completed = injected(&written);
        // Completed once more, for a hook of ours that asks for an Envoy of another name.
        let mut stale = completed.clone();
        let hook = &mut stale["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"];
        assert_eq!(hook["path"], "/shutdown");
        hook["path"] = json!("/shutdown/gone");
        let stale = injected(&stale);
        for pod in [&completed, &stale] {
            let removal = uninject(pod).unwrap().unwrap();
            let text = removal.pod["spec"].to_string();
            assert!(!text.contains("preStop"), "{over}: {text}");
        }
        let removal = uninject(&completed).unwrap().unwrap();
        assert!(
            removal.warnings[0].contains("is missing or broken"),
            "{over}: {:?}",
            removal.warnings
        );
    }
}

#[test]
fn a_sidecar_that_was_written_by_hand_is_not_taken_away() {
    let written = json!([
        {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"},
        {
            "name": "shutdown-manager", "image": "example/shutdown-manager:1",
            "args": ["serve", "--serve-port=9000"],
        },
    ]);
    let mut pod = json!({"metadata": {}, "spec": {"containers": written}});
    assert_eq!(uninject(&pod).unwrap(), None);
    // Whatever a status says that was left behind.
    pod["metadata"]["annotations"] = json!({"drainhook.io/status": "{\"version\": \"0.1.0\"}"});
    let removal = uninject(&pod).unwrap().unwrap();
    assert_eq!(removal.pod["spec"]["containers"], written);
}

#[test]
fn two_envoys_with_sockets_share_a_mount_only_where_it_is_the_same() {
    let decided = |volumes: [&str; 2], paths: [&str; 2]| {
        let envoy = |name: &str, volume: &str, path: &str| {
            json!({
                "name": name, "image": "envoyproxy/envoy:v1.36.2",
                "securityContext": {"runAsUser": 101, "runAsGroup": 101},
                "volumeMounts": [{"name": volume, "mountPath": path}],
            })
        };
        decision(&json!({
            "metadata": {"annotations": {
                "drainhook.io/inject": "true", "drainhook.io/envoy": "one,two",
                "drainhook.io/admin": "one=unix:///run/admin/1.sock,two=unix:///run/other/2.sock",
            }},
            "spec": {
                "containers": [
                    envoy("one", volumes[0], paths[0]),
                    envoy("two", volumes[1], paths[1]),
                ],
                "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}],
            },
        }))
    };
    for (volumes, paths, count) in [
        (["a", "a"], ["/run", "/run"], 1),
        (["a", "b"], ["/run/admin", "/run/other/"], 2),
    ] {
        let decision = decided(volumes, paths);
        let Decision::Inject { patch, .. } = &decision else {
            panic!("{decision:?}");
        };
        let text = json!(patch).to_string();
        assert_eq!(text.matches("mountPath").count(), count, "{text}");
    }
    for (volumes, paths, said) in [
        (["a", "b"], ["/run", "/run"], "mount different volumes at"),
        // A directory is no beginning of a name.
        (
            ["a", "b"],
            ["/run/adm", "/run/other"],
            "is in none of its volumes",
        ),
        (["a", "b"], ["/", "/run/other"], "is in none of its volumes"),
    ] {
        let decision = decided(volumes, paths);
        let Decision::Reject { messages, .. } = &decision else {
            panic!("{decision:?}");
        };
        assert!(messages[0].contains(said), "{messages:?}");
    }
}

#[test]
fn settings_that_do_less_than_they_seem_to_are_told() {
    let warnings = |annotations: Value| {
        let mut pod = json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]},
        });
        pod["metadata"]["annotations"]["drainhook.io/inject"] = json!("true");
        decision(&pod).warnings().to_vec()
    };
    assert_eq!(
        warnings(json!({"drainhook.io/check-interval": "9s", "drainhook.io/check-delay": "9s"})),
        [
            "drainhook.io/check-delay, drainhook.io/check-interval have no effect with \
          drainhook.io/wait-for: \"quiet\""
        ]
    );
    assert_eq!(
        warnings(json!({"drainhook.io/quiet": "9s", "drainhook.io/wait-for": "connections"})),
        ["drainhook.io/quiet has no effect with drainhook.io/wait-for: \"connections\""]
    );
    assert_eq!(
        warnings(json!({"drainhook.io/upgrade-timeout": "1h"})),
        [
            "drainhook.io/upgrade-timeout 3600s is longer than drain-timeout 300s, which ends the \
          drain before: make drain-timeout longer"
        ]
    );
    for well in [
        json!({"drainhook.io/upgrade-timeout": "300s"}),
        json!({"drainhook.io/upgrade-timeout": "1h", "drainhook.io/drain-timeout": "2h"}),
        json!({"drainhook.io/min-open-connections": "2", "drainhook.io/quiet": "9s"}),
    ] {
        assert_eq!(warnings(well), [""; 0]);
    }
}

/// What stands in the pod after its injection.
fn injected(pod: &Value) -> Value {
    let Decision::Inject { patch, .. } = decision(pod) else {
        panic!("no injection: {:?}", decision(pod));
    };
    support::apply(pod, &json!(patch)).unwrap()
}

fn sidecar(pod: &Value) -> Value {
    let pod = injected(pod);
    let all = ["containers", "initContainers"]
        .into_iter()
        .filter_map(|list| pod["spec"][list].as_array());
    all.flatten()
        .find(|container| container["name"] == "shutdown-manager")
        .unwrap()
        .clone()
}

fn gateway(envoy: &Value, annotations: &[(&str, &str)]) -> Value {
    let mut pod = json!({
        "metadata": {"annotations": {"drainhook.io/inject": "true"}},
        "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]},
    });
    for (key, value) in envoy.as_object().unwrap() {
        pod["spec"]["containers"][0][key] = value.clone();
    }
    for (key, value) in annotations {
        pod["metadata"]["annotations"][*key] = json!(value);
    }
    pod
}

#[test]
fn the_sidecar_keeps_envoys_class_of_service_and_makes_none() {
    for (resources, is_guaranteed) in [
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), true),
        (
            json!({
                "limits": {"cpu": "1", "memory": "1Gi"},
                "requests": {"cpu": "1000m", "memory": "1024Mi"},
            }),
            true,
        ),
        (
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}),
            false,
        ),
        (json!({"limits": {"cpu": "0", "memory": "1Gi"}}), false),
        (json!({"limits": {"memory": "1Gi"}}), false),
        (json!({}), false),
    ] {
        let own = sidecar(&gateway(&json!({"resources": resources}), &[]));
        let own = &own["resources"];
        let same = own["limits"] == own["requests"];
        assert_eq!(same, is_guaranteed, "{resources}: {own}");
    }
}

#[test]
fn in_a_pod_with_resources_of_its_own_the_sidecar_has_what_the_pods_author_wrote() {
    let resources = |annotations: &[(&str, &str)]| {
        let mut pod = gateway(&json!({}), annotations);
        pod["spec"]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        sidecar(&pod)["resources"].clone()
    };
    assert_eq!(resources(&[]), Value::Null);
    assert_eq!(
        resources(&[
            ("drainhook.io/cpu-request", "20m"),
            ("drainhook.io/memory-limit", "64Mi"),
        ]),
        json!({"requests": {"cpu": "20m"}, "limits": {"memory": "64Mi"}})
    );
}

#[test]
fn the_sidecar_has_the_label_of_the_socket_that_it_opens_whoever_it_runs_as() {
    let label = json!({"level": "s0:c1,c2"});
    let envoy = json!({
        "securityContext": {"runAsUser": 101, "seLinuxOptions": label},
        "volumeMounts": [{"name": "admin", "mountPath": "/admin"}],
    });
    let socket = ("drainhook.io/admin", "unix:///admin/admin.sock");
    for annotations in [
        &[socket][..],
        &[socket, ("drainhook.io/run-as-user", "101")],
    ] {
        let mut pod = gateway(&envoy, annotations);
        pod["spec"]["volumes"] = json!([{"name": "admin", "emptyDir": {}}]);
        assert_eq!(sidecar(&pod)["securityContext"]["seLinuxOptions"], label);
    }
}

#[test]
fn one_sidecar_opens_the_sockets_of_one_user() {
    let decided = |users: [i64; 2]| {
        let envoy = |name: &str, user: i64| {
            json!({
                "name": name, "image": "envoyproxy/envoy:v1.36.2",
                "securityContext": {"runAsUser": user},
                "volumeMounts": [{"name": "admin", "mountPath": "/admin"}],
            })
        };
        decision(&json!({
            "metadata": {"annotations": {
                "drainhook.io/inject": "true", "drainhook.io/envoy": "one,two",
                "drainhook.io/admin": "one=unix:///admin/1.sock,two=unix:///admin/2.sock",
            }},
            "spec": {
                "containers": [envoy("one", users[0]), envoy("two", users[1])],
                "volumes": [{"name": "admin", "emptyDir": {}}],
            },
        }))
    };
    assert_eq!(decided([101, 101]).reason(), "injected");
    assert_eq!(decided([101, 102]).reason(), "user-unknown");
}

#[test]
fn a_sidecar_beside_native_ones_is_native_where_the_cluster_is_not_known() {
    let mut pod = gateway(&json!({}), &[]);
    assert_eq!(injected(&pod)["spec"]["initContainers"], Value::Null);
    let log = json!({"name": "log", "image": "example/log:1", "restartPolicy": "Always"});
    pod["spec"]["initContainers"] = json!([log]);
    let injected = injected(&pod);
    assert_eq!(
        injected["spec"]["initContainers"][1]["name"],
        "shutdown-manager"
    );
}

#[test]
fn an_upgrade_keeps_the_token_and_gives_the_sidecar_the_place_of_its_new_kind() {
    let token = Token::from_random(0x7070);
    let configuration = Configuration::default();
    let decided = |pod: &Value, origin: Origin, token: Option<&Token>| {
        let request = Request {
            pod,
            namespace: None,
            configuration: &configuration,
            token,
            origin,
        };
        let Decision::Inject { patch, .. } = decide(&request).unwrap() else {
            panic!("no injection");
        };
        support::apply(pod, &json!(patch)).unwrap()
    };
    let mut pod = gateway(&json!({}), &[]);
    pod["spec"]["initContainers"] = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]);
    let mut pod = decided(&pod, Origin::Admission, Some(&token));
    pod["metadata"]["annotations"]["drainhook.io/mode"] = json!("native");
    let upgraded = decided(&pod, Origin::Manifest, None);
    let names = upgraded["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<_> = names.iter().map(|one| one["name"].as_str()).collect();
    assert_eq!(
        names,
        [Some("a"), Some("b"), Some("c"), Some("shutdown-manager")]
    );
    let hook = &upgraded["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"];
    assert_eq!(hook["httpHeaders"][0]["value"], token.reveal());
}

#[test]
fn an_envoy_that_closes_websockets_before_the_drain_is_over_is_told_of() {
    let warnings = |seconds: &str| {
        let envoy = json!({"args": ["--drain-time-s", seconds]});
        let pod = gateway(&envoy, &[("drainhook.io/drain-listeners", "always")]);
        let Decision::Inject { warnings, .. } = decision(&pod) else {
            panic!("no injection");
        };
        warnings.concat()
    };
    assert!(warnings("299").contains("closes websockets"));
    assert_eq!(warnings("300"), "");
}

#[test]
fn a_configuration_of_which_a_part_is_in_a_file_may_have_its_admin_there() {
    let yaml = ["--config-yaml", "node: {id: edge}"];
    let file = [&["-c", "/e.yaml"][..], &yaml].concat();
    assert_eq!(
        decision(&gateway(&json!({"args": yaml}), &[])).reason(),
        "admin-unknown"
    );
    let own = sidecar(&gateway(&json!({"args": file}), &[]));
    assert_eq!(own["env"][0]["value"], "127.0.0.1:9901");
}

#[test]
fn a_list_of_something_else_is_told_by_its_place() {
    let pod = gateway(&json!({"env": ["A=b"]}), &[]);
    let Decision::Reject { messages, .. } = decision(&pod) else {
        panic!("not refused");
    };
    assert!(
        messages[0].ends_with("env is not a list of objects"),
        "{messages:?}"
    );
}

#[test]
fn a_malformed_pod_stops_nobody_where_nothing_is_to_be_taken_back() {
    let mut pod = json!({"spec": {"containers": [{"name": "app"}], "initContainers": "none"}});
    assert_eq!(uninject(&pod), Ok(None));
    pod["spec"]["containers"][0]["name"] = json!("shutdown-manager");
    assert!(uninject(&pod).is_err());
}

#[test]
fn what_was_changed_since_is_left_and_told_in_as_many_words_as_fit() {
    let mut pod = gateway(&json!({}), &[]);
    let probe = json!({"httpGet": {"path": "/alive", "port": 3000}});
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers.extend((0..20).map(
        |number| json!({"name": format!("app-{number}"), "image": "app:1", "livenessProbe": probe}),
    ));
    let mut pod = injected(&pod);
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        if container["name"] != "shutdown-manager" && container["name"] != "envoy" {
            container["livenessProbe"]["terminationGracePeriodSeconds"] = json!(7);
        }
    }
    let removal = uninject(&pod).unwrap().unwrap();
    let left = &removal.pod["spec"]["containers"][20]["livenessProbe"];
    assert_eq!(left["terminationGracePeriodSeconds"], 7);
    assert_eq!(removal.warnings.len(), 15, "{:?}", removal.warnings);
    assert!(removal.warnings[0].ends_with("was changed since: left as it is"));
    assert!(removal.warnings[14].starts_with("and 6 more"));
}
