//! `drainhook inject` as exec function, as `examples/kustomize` shows it.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::tool::{command, deployment, example, printed, read, tool};

fn build(kustomize: &Path, directory: &Path, home: &Path) -> Output {
    command(kustomize, directory, home)
        .args(["build", "--enable-alpha-plugins", "--enable-exec", "."])
        .output()
        .unwrap()
}

#[test]
fn kustomize_takes_it_as_a_transformer() {
    let (Some(kustomize), Some(yaml2json)) = (tool("kustomize"), tool("yaml2json")) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let built = printed(build(&kustomize, &example("kustomize"), home.path()));
    let documents = read(&yaml2json, home.path(), &built);
    let template = &deployment(&documents)["spec"]["template"];
    let pod = &template["spec"];
    // The namespace among the resources opts in; the version makes the sidecar a native one.
    assert_eq!(pod["initContainers"][0]["name"], "shutdown-manager");
    assert_eq!(pod["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(pod["terminationGracePeriodSeconds"], 125);
    assert!(template["metadata"]["annotations"]["drainhook.io/status"].is_string());
}

#[test]
fn building_what_was_built_changes_nothing() {
    let Some(kustomize) = tool("kustomize") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let once = printed(build(&kustomize, &example("kustomize"), home.path()));
    let again = tempfile::tempdir().unwrap();
    for file in ["kustomization.yaml", "drainhook.yaml"] {
        fs::copy(example("kustomize").join(file), again.path().join(file)).unwrap();
    }
    fs::write(again.path().join("gateway.yaml"), &once).unwrap();
    assert_eq!(printed(build(&kustomize, again.path(), home.path())), once);
}

#[test]
fn wrong_settings_fail_the_build_with_the_reason() {
    let Some(kustomize) = tool("kustomize") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    for file in ["kustomization.yaml", "drainhook.yaml", "gateway.yaml"] {
        let text = fs::read_to_string(example("kustomize").join(file)).unwrap();
        let text = text.replace("drain-timeout: 120s", "drain-timeuot: 120s");
        fs::write(directory.path().join(file), text).unwrap();
    }
    let output = build(&kustomize, directory.path(), home.path());
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("did you mean drain-timeout?"), "{said}");
}
