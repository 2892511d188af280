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
