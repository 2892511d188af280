//! Values that few set render to what the API server takes, field by field.

use std::{fs, process::Command};

use drainhook_tests::{installation::rendered, product::workspace, wait::until};

use crate::stage::Stage;

/// Each line is an installation.
const INSTALLATIONS: [&[&str]; 5] = [
    &[
        "networkPolicy.apiServers[0].ipBlock.cidr=10.0.0.0/28",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring",
        "certificates.clientCAConfigMap=clients",
        "certificates.lifetimes.leaf-lifetime=12h",
        "image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ],
    &[
        "server.hostNetwork=true",
        "server.port=10250",
        "server.podLabels.team=edge",
        "server.podAnnotations.note=yes",
        "server.tolerations[0].operator=Exists",
        "certificates.mode=files",
        "guard.action=Deny",
        "webhook.failurePolicy=Fail",
    ],
    &[
        "certificates.mode=cert-manager",
        "monitoring.kind=service",
        "webhook.warn.enabled=false",
    ],
    &[
        "certificates.mode=cert-manager",
        "certificates.certManager.issuerRef.kind=ClusterIssuer",
        "certificates.certManager.issuerRef.name=company",
        "certificates.certManager.duration=48h",
        "certificates.certManager.renewBefore=12h",
    ],
    &[
        "monitoring.kind=pod",
        "monitoring.interval=1m",
        "monitoring.labels.release=prometheus",
        "podDisruptionBudget.minAvailable=50%",
        "rbac.create=false",
        "guard.enabled=false",
    ],
];

/// Of other projects; the cluster has them only where they are installed, or the tests have put the
/// definitions in.
const FOREIGN: [&str; 2] = [
    "apiVersion: cert-manager.io/",
    "apiVersion: monitoring.coreos.com/",
];

const APPLY: &str = "apply --server-side --dry-run=server --validate=strict --filename=-";

#[tokio::test]
async fn whatever_is_set_renders_to_what_the_api_server_takes() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    // In somebody's cluster they stay as they are, and may be of another version.
    let definitions = stage.own().is_some().then(definitions);
    if let Some(definitions) = &definitions {
        let (taken, said) = stage.send("apply --server-side --filename=-", definitions);
        assert!(taken, "{said}");
        stage.kubectl("wait crd --all --for=condition=Established --timeout=180s");
        // They are found a moment later.
        let kinds = "get servicemonitors,podmonitors,issuers,certificates -A";
        until("the kinds", async || stage.ask(kinds).ok())
            .await
            .unwrap();
    }
    for values in INSTALLATIONS {
        let rendered = rendered(values).unwrap();
        let (foreign, own): (Vec<_>, Vec<_>) = rendered
            .split("\n---\n")
            .partition(|document| FOREIGN.iter().any(|kind| document.contains(kind)));
        let wanted = values
            .iter()
            .any(|value| value.contains("cert-manager") || value.contains("monitoring.kind"));
        assert_eq!(!foreign.is_empty(), wanted, "{values:?}");
        let given = match definitions {
            Some(_) => rendered.clone(),
            None => own.join("\n---\n"),
        };
        let (taken, said) = stage.send(APPLY, &given);
        assert!(taken, "{values:?}: {said}");
    }
    if let Some(definitions) = definitions {
        let (taken, said) = stage.send(APPLY, &monitor_of_the_sidecars());
        assert!(taken, "{said}");
        let (taken, said) = stage.send("delete --filename=-", &definitions);
        assert!(taken, "{said}");
    }
    stage.leave();
}

/// The definitions of the kinds that other projects define.
fn definitions() -> String {
    let script = workspace().join("tests/cluster/crds.sh");
    let output = Command::new(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The PodMonitor that docs/operate.md tells people to write.
fn monitor_of_the_sidecars() -> String {
    let page = fs::read_to_string(workspace().join("docs/operate.md")).unwrap();
    let mut blocks = page.split("```yaml\n").skip(1);
    let monitor = blocks.find(|block| block.starts_with("apiVersion: monitoring.coreos.com/"));
    let (monitor, _) = monitor.unwrap().split_once("```").unwrap();
    monitor.to_owned()
}
