//! What a person is told at `kubectl apply` of a workload, whose controller would swallow it.

use drainhook_tests::{cluster::Version, installation::Replica, wait::until};
use kube::api::ListParams;
use serde_json::json;

use crate::{
    admission::{has_drain, kubectl_apply, opted_in, pods},
    site::{BOTH, Site},
};

#[tokio::test]
async fn a_workload_is_warned_about_at_kubectl_and_stored() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let installed = site.serve(&[], 1).await;
        let server = installed.server;
        let template = json!({
            "metadata": { "labels": { "app": "edge" }, "annotations": {
                "drainhook.io/inject": "true", "drainhook.io/min-drian": "5s",
            } },
            "spec": { "containers": [{ "name": "envoy", "image": "envoyproxy/envoy:v1.36.2" }] },
        });
        let mut once = template.clone();
        once["spec"]["restartPolicy"] = json!("Never");
        let selector = json!({ "matchLabels": { "app": "edge" } });
        let set = json!({ "selector": selector, "template": template });
        let mut stateful = set.clone();
        stateful["serviceName"] = json!("edge");
        let workloads = [
            ("apps/v1", "Deployment", set.clone()),
            ("apps/v1", "DaemonSet", set.clone()),
            ("apps/v1", "StatefulSet", stateful),
            ("apps/v1", "ReplicaSet", set),
            ("batch/v1", "Job", json!({ "template": once })),
            (
                "batch/v1",
                "CronJob",
                json!({
                    "schedule": "0 0 1 1 *", "jobTemplate": { "spec": { "template": once } },
                }),
            ),
        ];
        for (api_version, kind, spec) in workloads {
            let object = json!({
                "apiVersion": api_version, "kind": kind, "spec": spec,
                "metadata": { "name": kind.to_lowercase(), "namespace": "default" },
            });
            let (done, said) = kubectl_apply(server, &object);
            assert!(done, "{version:?} {kind}: {said}");
            let warned =
                said.contains("Warning: its pods will be refused") && said.contains("min-drian");
            assert!(warned, "{version:?} {kind}: {said}");
        }
        let (_, said) = kubectl_apply(
            server,
            &json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "misplaced", "namespace": "default", "annotations": opted_in() },
                "spec": {
                    "selector": { "matchLabels": { "app": "m" } },
                    "template": {
                        "metadata": { "labels": { "app": "m" } },
                        "spec": { "containers": [{ "name": "envoy", "image": "envoyproxy/envoy:v1.36.2" }] },
                    },
                },
            }),
        );
        assert!(
            said.contains("Warning") && said.contains("no effect"),
            "{version:?}: {said}"
        );
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
