//! Pods that people really have, input beside output: `goldens/NAME/pod.yaml`, where it matters
//! `namespace.yaml` and `configuration.yaml`, and `expected.yaml`.
//!
//! `UPDATE_GOLDENS=1 cargo test -p drainhook-webhook --test goldens` writes the outputs anew; each
//! is to be read before it is checked in.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use drainhook_webhook::{
    Configuration, Decision, InstallationDefaults, Namespace, Origin, Request, Token, UnknownKeys,
    decide, uninject,
};
use serde_json::{Value, json};

/// The token of every golden: a reader sees at once where it comes from.
const TOKEN: u128 = 0x0000_7070_0000_7070_0000_7070_0000_7070;

struct Golden {
    directory: PathBuf,
    pod: Value,
    namespace: Option<Namespace>,
    configuration: Configuration,
    origin: Origin,
    token: Option<Token>,
}

impl Golden {
    fn read(directory: &Path) -> Self {
        let optional = |name: &str| {
            let path = directory.join(name);
            path.exists().then(|| support::yaml(&path))
        };
        let settings = optional("configuration.yaml").unwrap_or(json!({}));
        let text = |key: &str| settings.get(key).and_then(Value::as_str);
        let defaults = settings
            .get("defaults")
            .map(Value::to_string)
            .unwrap_or_default();
        let configuration = Configuration {
            defaults: InstallationDefaults::parse(&defaults).unwrap(),
            kubernetes: match text("kubernetes") {
                Some("unknown") => None,
                version => Some(version.unwrap_or("1.34").parse().unwrap()),
            },
            image_choice: settings["imageChoice"] == true,
            unknown_keys: match text("unknownKeys") {
                Some("warn") => UnknownKeys::Warn,
                _ => UnknownKeys::Deny,
            },
        };
        let on_command_line = text("origin") == Some("manifest");
        Self {
            directory: directory.to_owned(),
            pod: support::yaml(&directory.join("pod.yaml")),
            namespace: optional("namespace.yaml").map(|object| Namespace::from_object(&object)),
            configuration,
            origin: if on_command_line {
                Origin::Manifest
            } else {
                Origin::Admission
            },
            token: (!on_command_line).then(|| Token::from_random(TOKEN)),
        }
    }

    fn decide(&self, pod: &Value) -> Decision {
        let request = Request {
            pod,
            namespace: self.namespace.as_ref(),
            configuration: &self.configuration,
            token: self.token.as_ref(),
            origin: self.origin,
        };
        decide(&request).unwrap()
    }

    fn name(&self) -> String {
        self.directory
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    }
}

fn goldens() -> Vec<Golden> {
    let mut directories: Vec<PathBuf> = fs::read_dir(support::root().join("webhook/tests/goldens"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    directories.sort();
    directories
        .iter()
        .map(|directory| Golden::read(directory))
        .collect()
}

fn patched(pod: &Value, decision: &Decision) -> Option<Value> {
    let Decision::Inject { patch, .. } = decision else {
        return None;
    };
    Some(support::apply(pod, &json!(patch)).unwrap())
}

/// A decision as the goldens have it.
fn shown(pod: &Value, decision: &Decision) -> Value {
    let mut shown = json!({"decision": decision.result(), "reason": decision.reason()});
    if let Decision::Reject { messages, .. } = decision {
        shown["messages"] = json!(messages);
    }
    if !decision.warnings().is_empty() {
        shown["warnings"] = json!(decision.warnings());
    }
    if let Some(patched) = patched(pod, decision) {
        shown["pod"] = patched;
    }
    shown
}

#[test]
fn every_pod_comes_out_as_it_was_reviewed() {
    let mut differing = Vec::new();
    for golden in goldens() {
        let shown = shown(&golden.pod, &golden.decide(&golden.pod));
        let expected = golden.directory.join("expected.yaml");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&expected, support::to_yaml(&shown)).unwrap();
        } else if !expected.exists() || support::yaml(&expected) != shown {
            differing.push(format!("{}:\n{}", golden.name(), support::to_yaml(&shown)));
        }
    }
    assert!(
        differing.is_empty(),
        "not as reviewed:\n{}",
        differing.join("\n")
    );
}

#[test]
fn there_are_as_many_shapes_as_are_promised() {
    assert!(goldens().len() >= 60, "{} goldens", goldens().len());
}

#[test]
fn a_second_time_changes_nothing() {
    for golden in goldens() {
        let Some(once) = patched(&golden.pod, &golden.decide(&golden.pod)) else {
            continue;
        };
        let again = golden.decide(&once);
        assert_eq!(
            again.reason(),
            "already-injected",
            "{}: {again:?}",
            golden.name()
        );
    }
}

#[test]
fn what_was_injected_can_be_taken_back() {
    for golden in goldens() {
        let decision = golden.decide(&golden.pod);
        // Completing and upgrading begin with something of ours in the pod.
        if decision.reason() != "injected" {
            continue;
        }
        let once = patched(&golden.pod, &decision).unwrap();
        let removal = uninject(&once).unwrap().unwrap();
        assert_eq!(removal.warnings, [""; 0], "{}", golden.name());
        assert_eq!(removal.pod, golden.pod, "{}", golden.name());
        let back = support::apply(&once, &json!(removal.patch)).unwrap();
        assert_eq!(back, golden.pod, "{}", golden.name());
    }
}
