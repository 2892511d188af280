//! Shapes in every combination, where a golden of each would tell nothing new.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use drainhook_webhook::{Configuration, Decision, Origin, Request, decide, uninject};
use serde_json::{Value, json};

fn decision(pod: &Value) -> Decision {
    let configuration = Configuration::default();
    let request = Request {
        pod,
        namespace: None,
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
