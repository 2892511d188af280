//! Values that few set render to what the API server takes, field by field.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use drainhook_tests::{
    installation::{NAME, helm},
    product::workspace,
};

use crate::stage::Stage;

/// Each line is an installation; kinds that only other products define are left out of the check.
const INSTALLATIONS: [&[&str]; 4] = [
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
        "monitoring.kind=pod",
        "podDisruptionBudget.minAvailable=50%",
        "rbac.create=false",
        "guard.enabled=false",
    ],
];

#[tokio::test]
async fn whatever_is_set_renders_to_what_the_api_server_takes() {
    let Some(stage) = Stage::enter().await else {
        return;
    };
    stage.namespaces().await;
    for values in INSTALLATIONS {
        let mut template = Command::new(helm().unwrap());
        template
            .args(["template", NAME])
            .arg(workspace().join("manifests/chart"));
        template.args(["--namespace", NAME, "--skip-tests"]);
        for value in values {
            template.args(["--set", value]);
        }
        let rendered = template.output().unwrap();
        assert!(rendered.status.success(), "{values:?}: {rendered:?}");
        let rendered = String::from_utf8(rendered.stdout).unwrap();
        let foreign = |document: &&str| {
            document.contains("apiVersion: cert-manager.io/")
                || document.contains("apiVersion: monitoring.coreos.com/")
        };
        let (foreign, own): (Vec<_>, Vec<_>) = rendered.split("\n---\n").partition(foreign);
        let wanted = values
            .iter()
            .any(|value| value.contains("cert-manager") || value.contains("monitoring.kind"));
        assert_eq!(!foreign.is_empty(), wanted, "{values:?}");
        let mut kubectl = stage.access.kubectl().unwrap();
        let kubectl = kubectl.args([
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "--filename=-",
        ]);
        let mut kubectl = kubectl
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = kubectl.stdin.take().unwrap();
        stdin.write_all(own.join("\n---\n").as_bytes()).unwrap();
        drop(stdin);
        let output = kubectl.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{values:?}: {said}");
    }
    stage.leave();
}
