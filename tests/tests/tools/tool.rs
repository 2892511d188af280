//! Builds and runs a tool, with our own command line in its `PATH`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use drainhook_tests::product;
use drainhook_tests::skip::skip;
use serde_json::Value;

/// `tests/tools/build` has no Go to build with.
const NO_GO: i32 = 69;

/// The path of a tool; `None`, and said, where there is no Go toolchain to build it with.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    // One build at a time: each takes both cores and gigabytes.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let build = product::workspace().join("tests/tools/build");
    let output = Command::new(build).arg(name).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NO_GO) {
        skip(said.trim());
        return None;
    }
    assert!(output.status.success(), "{name} is not built: {said}");
    Some(PathBuf::from(
        String::from_utf8(output.stdout).unwrap().trim(),
    ))
}

/// A directory of the examples.
pub(crate) fn example(name: &str) -> PathBuf {
    product::workspace().join("examples").join(name)
}

/// A command in a directory, which finds `drainhook` in its `PATH` and nothing of the user's own.
pub(crate) fn command(tool: &Path, directory: &Path, home: &Path) -> Command {
    let ours = product::drainhook().unwrap().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([ours].into_iter().chain(std::env::split_paths(&path)));
    let mut command = Command::new(tool);
    command
        .current_dir(directory)
        .env("PATH", path.unwrap())
        .env("HOME", home);
    for variable in ["HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME"] {
        command.env(variable, home.join(variable));
    }
    for variable in ["HELM_PLUGINS", "HELM_NAMESPACE", "KUBECONFIG"] {
        command.env_remove(variable);
    }
    command
}

/// What a tool printed, which must have gone well.
#[track_caller]
pub(crate) fn printed(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The documents of a YAML text, as Kubernetes' own reader has them.
pub(crate) fn read(yaml2json: &Path, directory: &Path, text: &str) -> Vec<Value> {
    let mut files = Vec::new();
    for (index, document) in split(text).enumerate() {
        let file = directory.join(format!("document-{index}.yaml"));
        std::fs::write(&file, document).unwrap();
        files.push(file);
    }
    let output = Command::new(yaml2json).args(&files).output().unwrap();
    let lines = printed(output);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// As kubectl takes a text apart.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n---")
        .filter(|document| !document.trim_matches(['-', '\n', ' ']).is_empty())
}

/// The Deployment among documents.
pub(crate) fn deployment(documents: &[Value]) -> &Value {
    documents
        .iter()
        .find(|document| document["kind"] == "Deployment")
        .unwrap()
}
