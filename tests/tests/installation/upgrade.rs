//! From one version of the installation to another and back, while pods are being made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use drainhook_tests::{
    gateway::has_drain, helm::Release, installation::NAME, product::workspace, wait::until,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::stage::{GATEWAYS, Stage};

/// A call that fails is a creation that fails.
const FAIL: &str = "webhook.failurePolicy=Fail";

/// How many create pods at once.
const WORKERS: usize = 4;

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

    let creations = Creations::begin(&stage).await;
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
    let failures = creations.end().await;
    assert_eq!(failures, Vec::<String>::new());
    let gateway = gateway.annotation("drainhook.io/of-the-future", "on");
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

/// Pods that opt in, created one after the other by a few at once. Dry runs: the API server asks the
/// webhook all the same, and no node has to run them.
struct Creations {
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    workers: JoinSet<Vec<String>>,
}

impl Creations {
    async fn begin(stage: &Stage) -> Self {
        let (made, stop) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (api, pod) = (pods(stage), pod(stage, &format!("created-{worker}")));
            let (made, stop) = (Arc::clone(&made), Arc::clone(&stop));
            workers.spawn(async move {
                let dry_run = PostParams {
                    dry_run: true,
                    ..PostParams::default()
                };
                let mut failures = Vec::new();
                while !stop.load(Relaxed) {
                    match api.create(&dry_run, &pod).await {
                        Ok(pod) => {
                            let pod: Pod = serde_json::from_value(json!(pod)).unwrap();
                            if !has_drain(&pod) {
                                failures.push("a pod came without its drain".to_owned());
                            }
                        }
                        Err(error) => failures.push(error.to_string()),
                    }
                    made.fetch_add(1, Relaxed);
                    // The API server is not what is tested.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                failures
            });
        }
        Self {
            made,
            stop,
            workers,
        }
    }

    /// Lets so many more be made.
    async fn more(&self, number: u64) {
        let enough = self.made.load(Relaxed) + number;
        while self.made.load(Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A line for each that failed or came without its drain.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Relaxed);
        self.workers
            .join_all()
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}
