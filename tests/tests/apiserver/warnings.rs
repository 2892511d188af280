//! What a person is told at `kubectl apply` of a workload, whose controller would swallow it.

use drainhook_tests::{cluster::Version, installation::Replica, wait::until};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{
    admission::{has_drain, kubectl_apply, opted_in, pods},
    site::{BOTH, Site},
};

/// What is wrong with a workload, by what is merged into its template and into itself, and what is said then.
struct Faulty {
    name: &'static str,
    template: Value,
    workload: Value,
    said: &'static [&'static str],
}

fn faulty() -> [Faulty; 3] {
    let envoy = json!([{ "name": "envoy", "image": "envoyproxy/envoy:v1.36.2" }]);
    [
        Faulty {
            name: "misspelt",
            template: json!({
                "metadata": { "annotations": {
                    "drainhook.io/inject": "true", "drainhook.io/min-drian": "5s",
                } },
                "spec": { "containers": envoy },
            }),
            workload: json!({}),
            said: &["its pods will be refused: \"drainhook.io/min-drian\""],
        },
        Faulty {
            name: "doubtful",
            template: json!({
                "metadata": {
                    "labels": { "drainhook.io/inject": "enabled" },
                    "annotations": {
                        "drainhook.io/inject": "true", "drainhook.io/pre-stop": "keep",
                        // Pods of a Job get no other.
                        "drainhook.io/mode": "native",
                    },
                },
                "spec": {
                    "hostNetwork": true,
                    "terminationGracePeriodSeconds": 60,
                    "containers": [{
                        "name": "envoy", "image": "envoyproxy/envoy:v1.36.2",
                        "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
                    }],
                },
            }),
            workload: json!({ "metadata": { "annotations": { "drainhook.io/quiet": "5s" } } }),
            said: &[
                "keeps its own preStop hook (sleep)",
                "raised from 60 to 305",
                "drainhook.io/min-drain",
                "itself, where it has no effect",
                "is a label of the pod, where it has no effect",
            ],
        },
        Faulty {
            name: "without-envoy",
            template: json!({
                "metadata": { "annotations": opted_in() },
                "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
            }),
            workload: json!({}),
            said: &["no container runs Envoy"],
        },
    ]
}

/// A workload of each kind that pods are made from.
fn workloads(
    Faulty {
        name,
        template,
        workload,
        ..
    }: &Faulty,
) -> Vec<Value> {
    let mut template = template.clone();
    template["metadata"]["labels"]["app"] = json!(name);
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let selector = json!({ "matchLabels": { "app": name } });
    let set = json!({ "selector": selector, "template": template });
    let mut stateful = set.clone();
    stateful["serviceName"] = json!("edge");
    let job = json!({ "spec": { "template": once } });
    let kinds = [
        ("apps/v1", "Deployment", set.clone()),
        ("apps/v1", "DaemonSet", set.clone()),
        ("apps/v1", "StatefulSet", stateful),
        ("apps/v1", "ReplicaSet", set),
        ("batch/v1", "Job", job["spec"].clone()),
        (
            "batch/v1",
            "CronJob",
            json!({ "schedule": "0 0 1 1 *", "jobTemplate": job }),
        ),
    ];
    let object = |(api_version, kind, spec): (&str, &str, Value)| {
        let mut object = workload.clone();
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object["spec"] = spec;
        object["metadata"]["name"] = json!(format!("{name}-{}", kind.to_lowercase()));
        object["metadata"]["namespace"] = json!("default");
        object
    };
    kinds.map(object).into()
}

#[tokio::test]
async fn a_workload_of_each_kind_is_warned_about_at_kubectl_for_each_fault_and_stored() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let installed = site.serve(&[], 1).await;
        for faulty in faulty() {
            for object in workloads(&faulty) {
                let (done, said) = kubectl_apply(installed.server, &object);
                let which = format!("{version:?} {} {}: {said}", faulty.name, object["kind"]);
                assert!(done, "{which}");
                let warnings: Vec<_> = said.lines().filter(|it| it.contains("Warning: ")).collect();
                for meant in faulty.said {
                    let of_it = warnings.iter().filter(|it| it.contains(meant));
                    assert_eq!(of_it.count(), 1, "{meant}: {which}");
                }
                assert_eq!(warnings.len(), faulty.said.len(), "{which}");
            }
        }
    }
}

#[tokio::test]
async fn only_what_a_person_changed_about_the_pods_is_warned_about() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let installed = site.serve(&[], 1).await;
    let (server, replica) = (&site.server, &installed.replicas[0]);
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "edge", "namespace": "default" },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": "edge" } },
            "template": {
                "metadata": { "labels": { "app": "edge" }, "annotations": opted_in() },
                "spec": { "containers": [{ "name": "envoy", "image": "envoyproxy/envoy:v1.36.2" }] },
            },
        },
    });
    server.apply(&deployment).await.unwrap();
    let list = ListParams::default().labels("app=edge");
    let injected = async || {
        let made = pods(server, "default")
            .list(&list)
            .await
            .ok()?
            .items
            .pop()?;
        Some(serde_json::to_value(made).unwrap())
    };
    let pod = until("the controllers' pod", injected).await.unwrap();
    assert!(has_drain(&pod), "{pod:#}");
    // The ReplicaSet was made by the Deployment's controller, which has also written a revision
    // onto the Deployment; neither is anybody's doing.
    let warned = |replica: &Replica| replica.decisions(|line| line["webhook"] == "warn");
    // A write that meets another one is tried again by the API server, and admitted again: what
    // counts is whether there were calls, not how many.
    let before = warned(replica);
    assert!(before > 0);
    deployment["spec"]["replicas"] = json!(3);
    deployment["metadata"]["annotations"] = json!({ "example.org/note": "more" });
    server.apply(&deployment).await.unwrap();
    assert_eq!(warned(replica), before, "the template is the same");
    deployment["spec"]["template"]["metadata"]["annotations"]["drainhook.io/min-drain"] =
        json!("9s");
    server.apply(&deployment).await.unwrap();
    let template = warned(replica);
    assert!(template > before);
    deployment["metadata"]["annotations"] = opted_in();
    server.apply(&deployment).await.unwrap();
    assert!(
        warned(replica) > template,
        "a key of ours in the wrong place"
    );
    let owned = replica.decisions(|line| line["webhook"] == "warn" && line["kind"] == "ReplicaSet");
    assert_eq!(owned, 0);
}
