//! Our reading of YAML beside that of `sigs.k8s.io/yaml`, which kubectl, Helm, kustomize and the API
//! server read with: what they take for a pod is what we must take for it.

use std::fs;
use std::process::Command;

use drainhook_webhook::manifest::parse;
use serde_json::Value;

use super::tool::{printed, tool};

/// Documents on which readers of YAML disagree, each a file of `yaml/`.
const FOLDER: &str = "tests/tests/tools/yaml";

#[test]
fn every_document_is_read_as_kubernetes_reads_it() {
    let Some(yaml2json) = tool("yaml2json") else {
        return;
    };
    let folder = drainhook_tests::product::workspace().join(FOLDER);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "the corpus is there");
    let lines = printed(Command::new(yaml2json).args(&files).output().unwrap());
    assert_eq!(lines.lines().count(), files.len());
    for (file, theirs) in files.iter().zip(lines.lines()) {
        let text = fs::read_to_string(file).unwrap();
        let ours = parse(&text);
        let name = file.display();
        if let Ok(theirs) = serde_json::from_str::<Value>(theirs) {
            let documents = ours.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
            assert_eq!(whole(&documents[0].value), whole(&theirs), "{name}");
        } else {
            assert!(theirs.starts_with("error: "), "{name}: {theirs}");
            assert!(
                ours.is_err(),
                "{name}: Kubernetes says {theirs}, and we read {ours:?}"
            );
        }
    }
}

/// Numbers by what they are worth: Go writes 1e+21 where others write its digits.
fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            Value::from(format!("{:e}", number.as_f64().unwrap()))
        }
        Value::Array(items) => items.iter().map(whole).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), whole(value)))
            .collect(),
        other => other.clone(),
    }
}
