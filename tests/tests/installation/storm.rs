//! Envoys roll under load while the webhook itself is in trouble. No client may notice either.

use std::{collections::BTreeSet, fs};

use drainhook_tests::{
    cluster::Cordon,
    gateway::{Workload, has_drain},
    installation::NAME,
    wait::until,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
};
use kube::{Api, api::DeleteParams};
use serde_json::json;
use tempfile::TempDir;

use crate::stage::{GATEWAYS, Stage};

/// Leaves of seconds and a CA that is replaced as often as the lifetimes allow: several rotations, and
/// many renewals, in each test.
const HASTE: [&str; 5] = [
    "certificates.lifetimes.leaf-lifetime=20s",
    "certificates.lifetimes.leaf-renewal=5s",
    "certificates.lifetimes.ca-overlap=5s",
    "certificates.lifetimes.ca-rotation=35s",
    "certificates.lifetimes.ca-lifetime=10m",
];

/// How long the webhook's pods are given to end, so that nobody waits for the usual five seconds of
/// serving on.
const SHORT_FAREWELL: &str = "server.stopDelaySeconds=3";

#[tokio::test]
async fn no_request_fails_and_every_pod_gets_its_drain_while_the_webhook_is_rolled_killed_and_moved()
 {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    let mut values = HASTE.to_vec();
    // A call that fails is then a pod that is not made, and a rollout that does not end.
    values.extend(["webhook.failurePolicy=Fail", SHORT_FAREWELL]);
    stage.release.install(&stage.values(&values)).unwrap();
    stage.verified();
    let first_authority = authority(&stage).await;
    let gateway = stage.gateway(2);
    let load = stage.load(&gateway).await;
    let mut seen = BTreeSet::new();

    // Its own rollout.
    gateway.restart().unwrap();
    stage.kubectl("rollout restart deployment/drainhook deployment/drainhook-certs -n drainhook");
    stage.kubectl("rollout status deployment/drainhook -n drainhook --timeout=180s");
    rolled_out_with_drains(&gateway, &mut seen).await;

    // A replica that is gone without a word, while pods are made.
    gateway.restart().unwrap();
    kill_one(&stage).await;
    rolled_out_with_drains(&gateway, &mut seen).await;

    // The node of one of its replicas is drained: it waits for its successor, by the disruption budget.
    let node = stage.nodes_of_replicas().await.into_iter().next().unwrap();
    let cordon = Cordon::of(&stage.access, &node).unwrap();
    gateway.restart().unwrap();
    stage.kubectl(&format!(
        "drain {node} --pod-selector=app.kubernetes.io/name=drainhook --delete-emptydir-data \
         --timeout=180s"
    ));
    rolled_out_with_drains(&gateway, &mut seen).await;
    drop(cordon);

    let (requests, failures) = load.stop().await.unwrap();
    assert_eq!(failures, Vec::<String>::new(), "of {requests} requests");
    assert!(seen.len() >= 6, "{seen:?}");
    assert_ne!(
        authority(&stage).await,
        first_authority,
        "no CA was replaced"
    );
    stage.leave();
}

#[tokio::test]
async fn while_the_webhook_is_gone_gateways_roll_on_somebody_is_told_and_check_finds_them() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    stage
        .release
        .install(&stage.values(&[SHORT_FAREWELL]))
        .unwrap();
    stage.verified();
    let gateway = stage.gateway(2);
    let load = stage.load(&gateway).await;
    deploy_injected(&stage, "kept");
    assert_eq!(stage.check(&[]).status, 0);

    stage.kubectl("scale deployment/drainhook -n drainhook --replicas=0");
    stage.kubectl(
        "wait pods -n drainhook -l app.kubernetes.io/component=server --for=delete --timeout=180s",
    );
    gateway.restart().unwrap();
    gateway.until_rolled_out().await.unwrap();
    // The pods that end had their drain, and need nobody for it.
    let (requests, failures) = load.stop().await.unwrap();
    assert_eq!(failures, Vec::<String>::new(), "of {requests} requests");
    let pods = gateway.pods().await.unwrap();
    assert!(!pods.iter().any(has_drain), "{pods:#?}");
    // The guard tells whoever creates a pod.
    let told = stage.create_pod("told", &json!({ "drainhook.io/inject": "true" }));
    assert!(
        told.contains("this pod asked for a drain and has none"),
        "{told}"
    );

    // Each is listed, and the one command that mends them all.
    let check = stage.check(&["--namespace", GATEWAYS]);
    assert_eq!(check.status, 1, "{check:?}");
    for pod in &pods {
        let name = pod.metadata.name.as_deref().unwrap();
        assert!(
            check.out.contains(&format!("{GATEWAYS}/{name}\n")),
            "{check:?}"
        );
    }
    let mend = format!("kubectl rollout restart deployment/gateway -n {GATEWAYS}");
    assert_eq!(check.out.matches(&mend).count(), 1, "{check:?}");
    let alone =
        format!("kubectl get pod/told -n {GATEWAYS} -o yaml | kubectl replace --force -f -");
    assert!(check.out.contains(&alone), "{check:?}");
    assert!(
        check
            .out
            .contains("4 taking part, 3 without a working drain, 1 to know"),
        "{check:?}"
    );
    // What is in a template is made again by a restart.
    let again = format!(
        "kubectl get deployment/kept -n {GATEWAYS} -o yaml | drainhook uninject - | kubectl replace -f -"
    );
    assert!(check.out.contains(&again), "{check:?}");
    let json = stage.check(&["--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["summary"]["withoutDrain"], 3, "{json:#}");

    // With the webhook back, the commands do what they promise.
    stage.kubectl("scale deployment/drainhook -n drainhook --replicas=2");
    stage.kubectl("rollout status deployment/drainhook -n drainhook --timeout=180s");
    for command in json["mend"].as_array().unwrap() {
        stage.shell(command.as_str().unwrap());
    }
    gateway.until_rolled_out().await.unwrap();
    rolled_out(&stage, "kept");
    let mended = stage.check(&[]);
    assert_eq!(mended.status, 0, "{mended:?}");
    assert!(
        mended
            .out
            .contains("4 taking part, 0 without a working drain, 0 to know"),
        "{mended:?}"
    );
    stage.leave();
}

/// Deploys a gateway whose template holds its drain already, as `drainhook inject` of an older version
/// has written it.
fn deploy_injected(stage: &Stage, name: &str) {
    let mut deployment = stage.gateway(1).deployment();
    deployment["metadata"]["name"] = json!(name);
    for labels in [
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        *deployment.pointer_mut(labels).unwrap() = json!({ "app": name });
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("gateway.json");
    fs::write(&path, deployment.to_string()).unwrap();
    let path = path.display().to_string();
    let image = stage.images.sidecar.reference();
    let injected = stage.drainhook(&["inject", "--image", image, "-f", &path]);
    assert_eq!(injected.status, 0, "{injected:?}");
    let version = |version: &str| format!(r#"\"version\":\"{version}\""#);
    let ours = version(env!("CARGO_PKG_VERSION"));
    assert!(injected.out.contains(&ours), "{injected:?}");
    fs::write(&path, injected.out.replace(&ours, &version("0.0.1"))).unwrap();
    stage.kubectl(&format!("apply --filename={path}"));
    rolled_out(stage, name);
}

fn rolled_out(stage: &Stage, name: &str) {
    stage.kubectl(&format!(
        "rollout status deployment/{name} -n {GATEWAYS} --timeout=180s"
    ));
}

/// Waits for the end of a rollout, and takes down that each new pod has its drain.
async fn rolled_out_with_drains(gateway: &Workload<'_>, seen: &mut BTreeSet<String>) {
    gateway.until_rolled_out().await.unwrap();
    for pod in gateway.pods().await.unwrap() {
        let name = pod.metadata.name.clone().unwrap();
        assert!(has_drain(&pod), "{name}");
        assert!(seen.insert(name), "a pod has outlived its rollout");
    }
}

/// Deletes a replica as a node that dies does, and waits until there are two again.
async fn kill_one(stage: &Stage) {
    let pods: Api<Pod> = Api::namespaced(stage.access.client(), NAME);
    let name = stage.replicas().await[0].metadata.name.clone().unwrap();
    pods.delete(&name, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(stage.access.client(), NAME);
    until("two replicas are ready", async || {
        let status = deployments.get(NAME).await.ok()?.status?;
        (status.ready_replicas == Some(2)).then_some(())
    })
    .await
    .unwrap();
}

/// The certificate of the CA that signs now.
async fn authority(stage: &Stage) -> Vec<u8> {
    let secrets: Api<Secret> = Api::namespaced(stage.access.client(), NAME);
    let secret = secrets.get("drainhook-ca").await.unwrap();
    secret.data.unwrap()["current.crt"].0.clone()
}
