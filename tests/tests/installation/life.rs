//! From the installation to its end: with Helm, and with `kubectl apply`.

use std::{collections::BTreeSet, fs};

use drainhook_tests::{gateway::has_drain, installation::NAME, product::workspace, wait::until};

use crate::{
    objects,
    stage::{GATEWAYS, Stage},
};

#[tokio::test]
async fn a_plain_helm_install_gets_ready_by_itself_works_and_goes_without_a_trace() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    let before = objects::all(&stage);
    // `--wait` returns once everything is ready: nobody has made a certificate.
    stage.release.install(&stage.values(&[])).unwrap();
    assert!(objects::all(&stage).contains(&format!("Secret/{NAME}-ca in {NAME}")));

    if stage.own().is_some() {
        on_two_nodes(&stage).await;
    }

    let said = stage.release.test().unwrap();
    assert!(
        said.contains("gets it: container shutdown-manager"),
        "{said}"
    );

    let gateway = stage.gateway(1);
    gateway.deploy().await.unwrap();
    let pods = gateway.pods().await.unwrap();
    assert!(pods.iter().all(has_drain), "{pods:#?}");
    every_metric_that_is_documented_is_there(&stage);
    gateway.delete().unwrap();

    stage.release.uninstall().unwrap();
    until_as(&stage, &before).await;
    // Nothing blocks pods, or says anything about them: there is nobody to ask.
    let gateway = stage.gateway(1);
    gateway.deploy().await.unwrap();
    assert!(!gateway.pods().await.unwrap().iter().any(has_drain));
    gateway.delete().unwrap();

    // And once more, with what it left behind, which is nothing.
    stage.release.install(&stage.values(&[])).unwrap();
    stage.verified();
    gateway.deploy().await.unwrap();
    assert!(gateway.pods().await.unwrap().iter().all(has_drain));
    stage.leave();
}

#[tokio::test]
async fn the_manifest_for_kubectl_does_the_same() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.gateways_namespace().await;
    let before = objects::all(&stage);
    let manifest = workspace().join("manifests/install.yaml");
    let manifest = manifest.display();
    stage.kubectl(&format!("apply --server-side --filename={manifest}"));
    stage.kubectl("rollout status deployment/drainhook -n drainhook --timeout=180s");
    stage.verified();
    // Applied once more, by somebody who knows nothing of the certificates: they stay.
    stage.kubectl(&format!("apply --server-side --filename={manifest}"));
    stage.verified();

    stage.kubectl(&format!("delete --filename={manifest} --timeout=180s"));
    until_as(&stage, &before).await;
    let verify = stage.drainhook(&["verify", "--namespace", GATEWAYS]);
    assert_eq!(verify.status, 1, "{verify:?}");
    stage.leave();
}

/// Its two replicas are on different nodes, also after a rollout, in which for a while there are three.
async fn on_two_nodes(stage: &Stage) {
    let before = stage.nodes_of_replicas().await;
    assert!(before.len() == 2 && before[0] != before[1], "{before:?}");
    stage.kubectl("rollout restart deployment/drainhook -n drainhook");
    stage.kubectl("rollout status deployment/drainhook -n drainhook --timeout=180s");
    let after = until("the end of the replicas of before", async || {
        let nodes = stage.nodes_of_replicas().await;
        (nodes.len() == 2).then_some(nodes)
    });
    let after = after.await.unwrap();
    assert_ne!(after[0], after[1]);
}

/// Not on the page before they have counted for the first time: nothing was refused yet, no
/// connection has ended, and no drain has asked Envoy anything.
const UNTIL_COUNTED: [&str; 3] = [
    "drainhook_admission_refused_total",
    "drainhook_connections_ended_total",
    "shutdown_manager_polls_total",
];

/// docs/operate.md tells people what to watch: each name in it is one that is really there.
fn every_metric_that_is_documented_is_there(stage: &Stage) {
    // Of every replica: one of them may not have been asked anything yet.
    let page = |namespace: &str, selector: &str, port: u16| {
        let pods = stage.kubectl(&format!("get pods -n {namespace} -l {selector} -o name"));
        let one = |pod: &str| {
            let pod = pod.trim_start_matches("pod/");
            stage.kubectl(&format!(
                "get --raw /api/v1/namespaces/{namespace}/pods/http:{pod}:{port}/proxy/metrics"
            ))
        };
        pods.lines().map(one).collect::<String>()
    };
    let pages = [
        page(NAME, "app.kubernetes.io/component=server", 8080),
        page(NAME, "app.kubernetes.io/component=certs", 8080),
        page(GATEWAYS, "app=gateway", 8090),
    ]
    .concat();
    let docs = fs::read_to_string(workspace().join("docs/operate.md")).unwrap();
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let ours =
        |name: &&str| name.starts_with("drainhook_") || name.starts_with("shutdown_manager_");
    let named: BTreeSet<_> = docs.split(word).filter(ours).collect();
    assert!(named.len() > 25, "{named:?}");
    // A counter is described without its suffix.
    let described = |name: &str| {
        let family = name.trim_end_matches("_total");
        pages.contains(&format!("# TYPE {family} "))
    };
    let wrong: Vec<_> = named
        .into_iter()
        .filter(|name| !described(name) && !UNTIL_COUNTED.contains(name))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} are not among\n{pages}");
}

/// Waits until the cluster holds what it held before.
async fn until_as(stage: &Stage, before: &BTreeSet<String>) {
    let mut now = objects::all(stage);
    let same = until("the cluster is as before", async || {
        now = objects::all(stage);
        (now == *before).then_some(())
    });
    let same = same.await;
    let more: Vec<_> = now.difference(before).collect();
    let less: Vec<_> = before.difference(&now).collect();
    assert!(same.is_ok(), "left behind: {more:#?}; missing: {less:#?}");
}
