//! `drainhook inject` as post-renderer, as `examples/helm-postrenderer` shows it.

use std::fs;
use std::path::Path;
use std::process::Command;

use drainhook_tests::product;

use super::tool::{command, deployment, example, printed, read, tool};

fn template(helm: &Path, home: &Path) -> Command {
    let mut template = command(helm, &example("helm-postrenderer"), home);
    template.args(["template", "gateway", "chart", "--values", "values.yaml"]);
    template
}

fn install_plugin(helm: &Path, home: &Path) {
    let plugin = example("helm-postrenderer").join("plugin");
    let install = command(helm, &plugin, home)
        .args(["plugin", "install", "."])
        .output();
    printed(install.unwrap());
}

/// What has been rendered is a Deployment with its drain, and everything else as it was.
fn assert_drained(yaml2json: &Path, home: &Path, plain: &str, rendered: &str) {
    let before = read(yaml2json, home, plain);
    let after = read(yaml2json, home, rendered);
    assert_eq!(after.len(), before.len());
    let pod = &deployment(&after)["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["lifecycle"]["preStop"]["httpGet"]["path"],
        "/shutdown"
    );
    assert_eq!(pod["containers"][1]["name"], "shutdown-manager");
    assert_eq!(pod["terminationGracePeriodSeconds"], 125);
    let config = |documents: &[serde_json::Value]| {
        documents
            .iter()
            .find(|document| document["kind"] == "ConfigMap")
            .cloned()
    };
    assert_eq!(config(&after), config(&before));
}

#[test]
fn helm_3_takes_it_as_an_executable() {
    let (Some(helm), Some(yaml2json)) = (tool("helm3"), tool("yaml2json")) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let plain = printed(template(&helm, home.path()).output().unwrap());
    let rendered = template(&helm, home.path())
        .args([
            "--post-renderer",
            "drainhook",
            "--post-renderer-args",
            "inject",
        ])
        .output();
    assert_drained(&yaml2json, home.path(), &plain, &printed(rendered.unwrap()));
}

#[test]
fn helm_4_takes_it_as_a_plugin_with_arguments() {
    let (Some(helm), Some(yaml2json)) = (tool("helm"), tool("yaml2json")) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    install_plugin(&helm, home.path());
    let plain = printed(template(&helm, home.path()).output().unwrap());
    let rendered = template(&helm, home.path())
        .args(["--post-renderer", "drainhook"])
        .output();
    assert_drained(&yaml2json, home.path(), &plain, &printed(rendered.unwrap()));
    let image = "--image=registry.example/manager:1";
    let rendered = template(&helm, home.path())
        .args([
            "--post-renderer",
            "drainhook",
            "--post-renderer-args",
            image,
        ])
        .output();
    assert!(printed(rendered.unwrap()).contains("image: registry.example/manager:1"));
}

/// What a plugin says of its failure, Helm 4 does not pass on: `examples/helm-postrenderer` names the
/// command that tells it.
#[test]
fn a_pod_that_is_refused_fails_the_release_of_helm_4_and_check_tells_the_reason() {
    let Some(helm) = tool("helm") else { return };
    let home = tempfile::tempdir().unwrap();
    install_plugin(&helm, home.path());
    let wrong = ["--set", "podAnnotations.drainhook\\.io/quite=3s"];
    let output = template(&helm, home.path())
        .args(wrong)
        .args(["--post-renderer", "drainhook"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");

    let plain = home.path().join("plain.yaml");
    let rendered = template(&helm, home.path()).args(wrong).output().unwrap();
    fs::write(&plain, printed(rendered)).unwrap();
    let check = Command::new(product::drainhook().unwrap())
        .arg("check")
        .arg(&plain)
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(1));
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(said.contains("did you mean drainhook.io/quiet?"), "{said}");
}

#[test]
fn the_plugin_has_the_version_of_the_product() {
    let plugin = fs::read_to_string(example("helm-postrenderer/plugin/plugin.yaml")).unwrap();
    let version = format!("\nversion: {}\n", env!("CARGO_PKG_VERSION"));
    assert!(plugin.contains(&version), "{plugin}");
}

#[test]
fn a_pod_that_is_refused_fails_the_release_with_the_reason() {
    let Some(helm) = tool("helm3") else { return };
    let home = tempfile::tempdir().unwrap();
    let output = template(&helm, home.path())
        .args(["--set", "podAnnotations.drainhook\\.io/quite=3s"])
        .args([
            "--post-renderer",
            "drainhook",
            "--post-renderer-args",
            "inject",
        ])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("did you mean drainhook.io/quiet?"), "{said}");
}
