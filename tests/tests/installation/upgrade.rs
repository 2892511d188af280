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

/// Replicas that end serve on until the API server has heard of it, however late that is.
const FAREWELL: &str = "server.stopDelaySeconds=15";

/// An annotation of ours that some later version may know.
const NEWER: &str = "of-the-future";

/// How many create pods at once.
const WORKERS: u64 = 4;

// Helm is waited for on this thread, and pods are created on others meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_and_a_rollback_lose_no_admission_and_newer_annotations_stop_no_gateway() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    let directory = TempDir::new().unwrap();
    let before = Release::new(&stage.access, NAME).unwrap();
    let before = before.chart(older(directory.path()));
    before
        .install(&stage.values(&[FAIL, FAREWELL, "defaults.min-drain=6s"]))
        .unwrap();
    stage.verified();
    let gateway = stage.gateway(2);
    let load = stage.load(&gateway).await;

    let creations = creations(&stage);
    creations.more(50).await;
    // Other values, another version, a higher number of replicas. What only the newer version knows is
    // here what it takes without knowing it.
    let newer = [
        FAIL,
        FAREWELL,
        "defaults.min-drain=7s",
        "server.replicas=3",
        "unknownKeys=warn",
    ];
    stage.release.upgrade(&stage.values(&newer)).unwrap();
    assert_eq!(versions(&stage), [env!("CARGO_PKG_VERSION"); 2].join(" "));
    creations.more(50).await;
    until_min_drain(&stage, "7s").await;
    let gateway = gateway.but(|gateway| gateway.annotation(NEWER, "on"));
    gateway.deploy().await.unwrap();
    assert!(gateway.pods().await.unwrap().iter().all(has_drain));

    // Somebody uses it by now, and goes back as docs/install.md says.
    before
        .upgrade_with_its_values(&["unknownKeys=warn"])
        .unwrap();
    assert_eq!(versions(&stage), "0.0.9 0.0.9");
    creations.more(50).await;
    gateway.restart().unwrap();
    gateway.until_rolled_out().await.unwrap();
    assert!(gateway.pods().await.unwrap().iter().all(has_drain));
    let key = format!("drainhook.io/{NEWER}");
    let asks = json!({ "drainhook.io/inject": "true", &key: "on" });
    let told = stage.create_pod("newer", &asks);
    assert!(told.contains(&key), "{told}");

    // A rollback brings the older values back as well: by default a key that is not known may as well be
    // misspelt. Replicas of before serve on for some seconds, on connections that the API server has.
    stage.release.roll_back(1).unwrap();
    creations.more(50).await;
    creations.end_without_a_failure().await.unwrap();
    // The gateway was rolled twice meanwhile, to another version's drain and back.
    let (requests, failures) = load.stop().await.unwrap();
    assert_eq!(failures, Vec::<String>::new(), "of {requests} requests");
    let mut number = 0;
    let refused = until("a pod is refused", async || {
        number += 1;
        let said = stage.create_pod(&format!("refused-{number}"), &asks);
        said.contains("denied the request").then_some(said)
    });
    let refused = refused.await.unwrap();
    assert!(refused.contains(&key), "{refused}");
    until_min_drain(&stage, "6s").await;
    stage.leave();
}

// As above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uninstalling_refuses_no_pod_even_where_every_pod_needs_the_webhook() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    stage.kubectl(&format!(
        "label namespace {GATEWAYS} drainhook.io/inject=enabled"
    ));
    let lasting = [FAIL, FAREWELL];
    stage.release.install(&stage.values(&lasting)).unwrap();
    stage.verified();

    // While it goes, pods come with a drain or without one.
    let creations = creations(&stage);
    creations.more(50).await;
    stage.release.uninstall().unwrap();
    creations.more(10).await;
    let (made, failures) = creations.end().await;
    let (without, refused): (Vec<_>, Vec<_>) =
        failures.into_iter().partition(|failure| failure.created);
    assert!(refused.is_empty(), "of {made}: {refused:#?}");
    assert!(!without.is_empty(), "nobody has seen it gone");

    // Where the guard refuses as well, pods come once the API server has heard of its end: it looks each second.
    let strict = [FAIL, "guard.action=Deny"];
    stage.release.install(&stage.values(&strict)).unwrap();
    stage.verified();
    stage.release.uninstall().unwrap();
    let mut number = 0;
    let created = until("a pod is created without a word", async || {
        number += 1;
        let asks = json!({ "drainhook.io/inject": "true" });
        let said = stage.create_pod(&format!("afterwards-{number}"), &asks);
        said.is_empty().then_some(())
    });
    created.await.unwrap();
    stage.leave();
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

/// Which versions the Deployments are of.
fn versions(stage: &Stage) -> String {
    stage.kubectl(
        "get deployments -n drainhook -o jsonpath={.items[*].metadata.labels.app\\.kubernetes\\.io/version}",
    )
}

/// Waits until a pod gets this: replicas of before serve on for a while.
async fn until_min_drain(stage: &Stage, value: &str) {
    until(&format!("a min-drain of {value}"), async || {
        (min_drain(stage).await == value).then_some(())
    })
    .await
    .unwrap();
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
