use serde_json::json;

use super::*;

fn owner(version: &str, kind: &str) -> Owner {
    let owner = json!({"apiVersion": version, "kind": kind, "name": "edge", "controller": true});
    Owner::of(&json!({"metadata": {"ownerReferences": [owner]}})).unwrap()
}

/// What makes pods from a template that says nothing of drains.
fn maker(version: &str, kind: &str) -> Maker {
    Maker {
        owner: owner(version, kind),
        in_template: false,
    }
}

fn patient(maker: Option<&Maker>, state: State) -> Patient<'_> {
    Patient {
        namespace: "ns",
        name: "edge-1",
        maker,
        state,
        begins_anew: true,
        is_admitted: true,
    }
}

fn command(maker: Option<&Maker>, state: State) -> Option<String> {
    patient(maker, state).command()
}

#[test]
fn what_rolls_is_restarted_and_what_does_not_is_made_anew_by_its_owner() {
    for (version, kind, expected) in [
        (
            "apps/v1",
            "Deployment",
            "kubectl rollout restart deployment/edge -n ns",
        ),
        (
            "apps/v1",
            "DaemonSet",
            "kubectl rollout restart daemonset/edge -n ns",
        ),
        (
            "apps/v1",
            "StatefulSet",
            "kubectl rollout restart statefulset/edge -n ns",
        ),
        ("apps/v1", "ReplicaSet", "kubectl delete pod/edge-1 -n ns"),
        ("batch/v1", "Job", "kubectl delete pod/edge-1 -n ns"),
        // Somebody else's kind of the same name.
        (
            "example.org/v1",
            "Deployment",
            "kubectl delete pod/edge-1 -n ns",
        ),
    ] {
        let maker = maker(version, kind);
        assert_eq!(
            command(Some(&maker), State::Missing),
            Some(expected.to_owned())
        );
    }
}

#[test]
fn a_pod_of_nobody_is_replaced() {
    let command = command(None, State::Missing).unwrap();
    assert!(
        command.ends_with("| kubectl replace --force -f -"),
        "{command}"
    );
}

#[test]
fn what_would_be_refused_again_is_edited() {
    let maker = maker("apps/v1", "Deployment");
    let command = command(Some(&maker), State::Refused);
    assert_eq!(command.unwrap(), "kubectl edit deployment/edge -n ns");
}

#[test]
fn what_a_quota_would_refuse_is_edited_and_not_restarted() {
    let maker = maker("apps/v1", "DaemonSet");
    for state in [
        State::RefusedAnew,
        State::Outdated,
        State::Incomplete,
        State::Broken,
    ] {
        let patient = Patient {
            is_admitted: false,
            ..patient(Some(&maker), state)
        };
        let command = patient.command();
        assert_eq!(command.unwrap(), "kubectl edit daemonset/edge -n ns");
    }
    // The sidecar in the template has what it has, whatever is annotated.
    let templated = Maker {
        in_template: true,
        ..maker
    };
    let fixed = Patient {
        is_admitted: false,
        begins_anew: false,
        ..patient(Some(&templated), State::RefusedAnew)
    };
    assert_eq!(fixed.command(), None);
    assert_eq!(fixed.advice(false), Some(IN_TEMPLATE));
    for state in [State::Incomplete, State::Outdated] {
        let alone = Patient {
            is_admitted: false,
            ..patient(None, state)
        };
        assert_eq!(alone.command(), None, "it would be lost");
    }
}

#[test]
fn the_pod_of_a_job_that_would_be_refused_is_for_its_manifest() {
    let job = maker("batch/v1", "Job");
    let patient = patient(Some(&job), State::Refused);
    assert_eq!(patient.command(), None);
    assert_eq!(patient.advice(false), Some(IN_JOB));
}

#[test]
fn a_pod_of_nobody_that_would_be_refused_is_not_deleted() {
    assert_eq!(command(None, State::Refused), None);
}

#[test]
fn a_drain_that_is_no_good_is_taken_back_before_a_pod_of_nobody_is_replaced() {
    for state in [State::Broken, State::Outdated] {
        assert_eq!(
            command(None, state).unwrap(),
            "kubectl get pod/edge-1 -n ns -o yaml | drainhook uninject - \
             | kubectl replace --force -f -"
        );
        let lost = Patient {
            begins_anew: false,
            ..patient(None, state)
        };
        assert_eq!(lost.command(), None);
    }
}

#[test]
fn where_the_sidecar_does_not_run_nothing_is_made_again_and_one_looks_why() {
    let maker = maker("apps/v1", "Deployment");
    for maker in [Some(&maker), None] {
        assert_eq!(command(maker, State::Stopped), None);
        assert_eq!(
            patient(maker, State::Stopped).looks(),
            [
                "kubectl describe pod/edge-1 -n ns",
                "kubectl logs pod/edge-1 -c shutdown-manager -n ns",
            ]
        );
    }
    assert!(patient(None, State::Broken).looks().is_empty());
}

#[test]
fn what_a_template_holds_is_taken_back_there_since_a_restart_makes_the_same_again() {
    let templated = |kind| Maker {
        in_template: true,
        ..maker("apps/v1", kind)
    };
    let deployment = templated("Deployment");
    for state in [State::Broken, State::Outdated] {
        let patient = patient(Some(&deployment), state);
        assert_eq!(
            patient.command().unwrap(),
            "kubectl get deployment/edge -n ns -o yaml | drainhook uninject - | \
             kubectl replace -f -"
        );
        assert_eq!(patient.advice(true), Some(IN_TEMPLATE));
        // The webhook would not give it another, or the pods would stay as they are.
        let lost = Patient {
            begins_anew: false,
            ..patient
        };
        let alone = templated("ReplicaSet");
        let alone = Patient {
            maker: Some(&alone),
            ..patient
        };
        for without in [lost, alone] {
            assert_eq!(without.command(), None);
            assert_eq!(without.advice(false), Some(IN_TEMPLATE));
        }
    }
    // The webhook adds what is lacking, whatever the template holds.
    let incomplete = patient(Some(&deployment), State::Incomplete);
    assert_eq!(
        incomplete.command().unwrap(),
        "kubectl rollout restart deployment/edge -n ns"
    );
    assert_eq!(incomplete.advice(true), None);
}

#[test]
fn an_owner_that_is_no_controller_made_nothing() {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "edge"});
    assert_eq!(
        Owner::of(&json!({"metadata": {"ownerReferences": [owner]}})),
        None
    );
}
