//! The rendered installation, `manifests/install.yaml`, and the chart that it comes from: what the API
//! server is told of the webhook, and that no key lies in a manifest.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
const POLICY: &str = "ValidatingAdmissionPolicy";

fn installation() -> Vec<Value> {
    let text = fs::read_to_string(support::root().join("manifests/install.yaml")).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// All entries of all configurations of a kind.
fn entries(kind: &str) -> Vec<Value> {
    let objects = installation().into_iter();
    objects
        .filter(|object| object["kind"] == kind)
        .flat_map(|object| object["webhooks"].as_array().unwrap().clone())
        .collect()
}

/// The names of the conditions, each of which must have an expression.
fn conditions(of: &Value) -> Vec<&str> {
    let conditions = of["matchConditions"].as_array().into_iter().flatten();
    conditions
        .map(|condition| {
            let expression = condition["expression"].as_str().unwrap_or_default();
            assert!(!expression.trim().is_empty(), "{condition} of {of}");
            condition["name"].as_str().unwrap()
        })
        .collect()
}

/// What is in none of these entries was never sent: the conditions are the API server's to evaluate.
#[test]
fn every_webhook_says_how_long_it_may_take_and_which_objects_it_wants() {
    let told = |kind| -> Vec<Value> {
        let told = |entry: &Value| {
            json!([
                entry["name"],
                entry["timeoutSeconds"],
                entry["failurePolicy"],
                conditions(entry)
            ])
        };
        entries(kind).iter().map(told).collect()
    };
    // Without a time-out of its own, a webhook may hold up a pod for ten seconds.
    assert_eq!(
        told(MUTATING),
        [
            json!([
                "pods.drainhook.io",
                5,
                "Ignore",
                ["opted-in", "not-a-mirror-pod"]
            ]),
            json!([
                "namespaces.drainhook.io",
                5,
                "Ignore",
                ["says-nothing-itself", "not-a-mirror-pod"]
            ]),
        ]
    );
    let owned = "not-owned-by-a-controller";
    let new = "the-template-is-new";
    assert_eq!(
        told(VALIDATING),
        [
            json!([
                "workloads.drainhook.io",
                2,
                "Ignore",
                [owned, new, "opted-in"]
            ]),
            json!([
                "workloads-of-namespaces.drainhook.io",
                2,
                "Ignore",
                [owned, new, "says-nothing-itself"]
            ]),
        ]
    );
    let policies: Vec<Value> = installation()
        .into_iter()
        .filter(|object| object["kind"] == POLICY)
        .collect();
    let [guard] = &policies[..] else {
        panic!("{policies:?}");
    };
    assert_eq!(conditions(&guard["spec"]), ["not-a-mirror-pod"]);
}

/// A pod of the webhook's own, or one of the node's, must never wait for the webhook.
#[test]
fn no_webhook_is_asked_about_its_own_namespace_or_the_systems() {
    for entry in [entries(MUTATING), entries(VALIDATING)].concat() {
        let left_out = entry["namespaceSelector"]["matchExpressions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["key"] == "kubernetes.io/metadata.name" && it["operator"] == "NotIn")
            .flat_map(|it| it["values"].as_array().unwrap());
        let left_out: Vec<_> = left_out.filter_map(Value::as_str).collect();
        for namespace in ["drainhook", "kube-system", "kube-node-lease"] {
            assert!(left_out.contains(&namespace), "{namespace}: {entry}");
        }
    }
}

/// The publisher makes the key where it is used, in the cluster. One from a template would be another at
/// each upgrade, and would lie in Helm's record of the release.
#[test]
fn no_manifest_and_no_template_makes_a_secret() {
    let objects = installation();
    assert!(objects.len() > 20, "{} objects", objects.len());
    for object in &objects {
        assert_ne!(object["kind"], "Secret", "{object}");
    }
    let templates = files(&support::root().join("manifests/chart/templates"));
    assert!(templates.len() > 8, "{templates:?}");
    for template in templates {
        let text = fs::read_to_string(&template).unwrap();
        let kinds = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("kind:"));
        for kind in kinds {
            // A reference to a kind is plain text, too: none of ours is to a Secret.
            assert!(!kind.contains("Secret"), "{}: {kind}", template.display());
        }
        // Nor are keys made in passing.
        for function in [
            "genCA",
            "genSelfSignedCert",
            "genSignedCert",
            "genPrivateKey",
        ] {
            assert!(
                !text.contains(function),
                "{}: {function}",
                template.display()
            );
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}
