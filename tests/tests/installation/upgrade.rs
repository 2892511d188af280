//! From one version of the installation to another and back, while pods are being made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use drainhook_tests::{
    creations::{Creations, Order},
    gateway::has_drain,
    helm::Release,
    installation::NAME,
    product::workspace,
    wait::until,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{GATEWAYS, Stage};

/// A call that fails is a creation that fails.
const FAIL: &str = "webhook.failurePolicy=Fail";

/// How many create pods at once.
const WORKERS: u64 = 4;

#[tokio::test]
async fn an_upgrade_and_a_rollback_lose_no_admission_and_newer_annotations_stop_no_gateway() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    let directory = TempDir::new().unwrap();
    let before = Release::new(&stage.access, NAME).unwrap();
    let before = before.chart(older(directory.path()));
    let values = [FAIL, "defaults.min-drain=6s", "unknownKeys=warn"];
    before.install(&stage.values(&values)).unwrap();
    let gateway = stage.gateway(1);
    gateway.deploy().await.unwrap();

    let creations = creations(&stage);
    creations.more(50).await;
    // Other values, another version, a higher number of replicas.
    let newer = [
        FAIL,
        "defaults.min-drain=7s",
        "server.replicas=3",
        "unknownKeys=warn",
    ];
    stage.release.upgrade(&stage.values(&newer)).unwrap();
    let versions = stage.kubectl(
        "get deployments -n drainhook -o jsonpath={.items[*].metadata.labels.app\\.kubernetes\\.io/version}",
    );
    assert_eq!(
        versions,
        concat!(env!("CARGO_PKG_VERSION"), " ", env!("CARGO_PKG_VERSION"))
    );
    creations.more(50).await;
    assert_eq!(min_drain(&stage).await, "7s");

    // Somebody begins to use what only the newer version knows; then it is taken back.
    stage.release.roll_back().unwrap();
    creations.more(50).await;
    assert_eq!(min_drain(&stage).await, "6s");
    creations.end_without_a_failure().await.unwrap();
    let gateway = gateway.but(|gateway| gateway.annotation("of-the-future", "on"));
    gateway.deploy().await.unwrap();
    assert!(gateway.pods().await.unwrap().iter().all(has_drain));
    let told = stage.create_pod(
        "newer",
        &json!({ "drainhook.io/inject": "true", "drainhook.io/of-the-future": "on" }),
    );
    assert!(told.contains("drainhook.io/of-the-future"), "{told}");

    // By default a key that is not known may as well be misspelt. Replicas of before serve on for
    // some seconds, on connections that the API server has.
    stage.release.upgrade(&stage.values(&[FAIL])).unwrap();
    let mut number = 0;
    let refused = until("a pod is refused", async || {
        number += 1;
        let said = stage.create_pod(
            &format!("refused-{number}"),
            &json!({ "drainhook.io/inject": "true", "drainhook.io/of-the-future": "on" }),
        );
        said.contains("denied the request").then_some(said)
    });
    let refused = refused.await.unwrap();
    assert!(refused.contains("drainhook.io/of-the-future"), "{refused}");
    gateway.delete().unwrap();
    stage.leave().await;
}

/// The chart as a version before might have been.
fn older(directory: &Path) -> PathBuf {
    let chart = directory.join("chart");
    let copy = Command::new("cp")
        .arg("--recursive")
        .arg(workspace().join("manifests/chart"))
        .arg(&chart)
        .status();
    assert!(copy.unwrap().success());
    let metadata = chart.join("Chart.yaml");
    let text = fs::read_to_string(&metadata).unwrap();
    let version = format!("ersion: {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.matches(&version).count(), 2, "{text}");
    fs::write(&metadata, text.replace(&version, "ersion: 0.0.9\n")).unwrap();
    chart
}

/// What a pod gets now.
async fn min_drain(stage: &Stage) -> String {
    let pods: Api<DynamicObject> = pods(stage);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = pods.create(&dry_run, &pod(stage, "asked")).await.unwrap();
    let pod = json!(pod);
    let lists = ["/spec/initContainers", "/spec/containers"].map(|list| pod.pointer(list));
    let mut containers = lists
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten();
    let sidecar = containers
        .find(|it| it["name"] == "shutdown-manager")
        .unwrap();
    let mut variables = sidecar["env"].as_array().unwrap().iter();
    let variable = variables
        .find(|it| it["name"] == "SHUTDOWN_MANAGER_MIN_DRAIN")
        .unwrap();
    variable["value"].as_str().unwrap().to_owned()
}

fn pods(stage: &Stage) -> Api<DynamicObject> {
    let resource = kube::api::ApiResource::erase::<Pod>(&());
    Api::namespaced_with(stage.access.client(), GATEWAYS, &resource)
}

fn pod(stage: &Stage, name: &str) -> DynamicObject {
    let template = &stage.gateway(1).deployment()["spec"]["template"];
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": GATEWAYS,
            "annotations": { "drainhook.io/inject": "true" },
        },
        "spec": template["spec"],
    });
    serde_json::from_value(pod).unwrap()
}

/// Pods that opt in, created one after the other by a few at once.
fn creations(stage: &Stage) -> Creations {
    let order = Order {
        pods: pods(stage),
        pod: pod(stage, "created"),
        dry_run: true,
        // The API server is not what is tested.
        pause: Duration::from_millis(20),
    };
    Creations::begin(&order, "created", WORKERS)
}
