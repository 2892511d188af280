//! What the fuzz targets share: trees instead of bytes, and an answer to "is this still right?".

use drainhook_webhook::annotations::TABLE;
use fastrand::Rng;
use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value, json};

/// More changes at a time than this, and nothing is left of an input that was worth keeping.
const MOST_CHANGES: usize = 4;

/// Keys that are read of a pod, besides the annotations.
const KEYS: &[&str] = &[
    "additional",
    "annotations",
    "args",
    "command",
    "containerPort",
    "containers",
    "cpu",
    "emptyDir",
    "env",
    "exec",
    "fsGroup",
    "host",
    "hostNetwork",
    "hostPort",
    "httpGet",
    "httpHeaders",
    "image",
    "imagePullSecrets",
    "initContainers",
    "labels",
    "lifecycle",
    "limits",
    "livenessProbe",
    "metadata",
    "mountPath",
    "name",
    "os",
    "path",
    "port",
    "ports",
    "preStop",
    "protocol",
    "readinessProbe",
    "requests",
    "resources",
    "restartPolicy",
    "runAsGroup",
    "runAsUser",
    "securityContext",
    "shareProcessNamespace",
    "sleep",
    "spec",
    "startupProbe",
    "subPath",
    "subPathExpr",
    "tcpSocket",
    "terminationGracePeriodSeconds",
    "value",
    "volumeMounts",
    "volumes",
];

/// Texts that mean something somewhere.
const TEXTS: &[&str] = &[
    "$(POD)",
    "--admin-address-path",
    "--base-id",
    "--config-yaml",
    "--drain-time-s",
    "/shutdown",
    "/wait",
    "127.0.0.1:9901",
    "1m30s",
    "8Mi",
    "8090",
    "9901",
    "Always",
    "Never",
    "a=9901,b=unix:///run/admin.sock",
    "all",
    "connections",
    "container",
    "contour",
    "envoy",
    "envoyproxy/envoy:v1.36.2",
    "false",
    "istio-proxy",
    "keep",
    "linux",
    "native",
    "none",
    "replace",
    "shutdown-manager",
    "true",
    "unix:///run/admin.sock",
    "windows",
    "{\"admin\":{\"address\":{\"socket_address\":{\"port_value\":9901}}}}",
];

/// The mutator of the targets that read JSON: trees where it can be, else bytes. Returns the new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    match mutate_json(&data[..size], seed) {
        Some(json) if json.len() <= max_size => {
            data[..json.len()].copy_from_slice(&json);
            json.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
}

/// Mutates JSON as a tree, so that what comes out is JSON again; `None` where it is none, or where
/// bytes are to be mutated this time.
fn mutate_json(input: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut rng = Rng::with_seed(seed.into());
    let mut root: Value = serde_json::from_slice(input).ok()?;
    if rng.u8(..8) == 0 {
        return None;
    }
    for _ in 0..rng.usize(1..=MOST_CHANGES) {
        let donor = nodes(&root)
            .get(rng.usize(..count(&root)))
            .map(|node| (*node).clone());
        let mut index = rng.usize(..count(&root));
        if let Some(node) = nth(&mut root, &mut index) {
            change(node, donor.unwrap_or_default(), &mut rng);
        }
    }
    serde_json::to_vec(&root).ok()
}

fn change(node: &mut Value, donor: Value, rng: &mut Rng) {
    match (rng.u8(..8), &mut *node) {
        (0..=2, Value::Object(map)) => {
            map.insert(key(rng), if rng.bool() { donor } else { leaf(rng) });
        }
        (3..=4, Value::Object(map)) if !map.is_empty() => {
            if let Some(key) = map.keys().nth(rng.usize(..map.len())).cloned() {
                map.shift_remove(&key);
            }
        }
        (0..=1, Value::Array(items)) => items.insert(rng.usize(..=items.len()), donor),
        (2, Value::Array(items)) if !items.is_empty() => {
            let copy = items[rng.usize(..items.len())].clone();
            items.push(copy);
        }
        (3..=4, Value::Array(items)) if !items.is_empty() => {
            items.remove(rng.usize(..items.len()));
        }
        (5, Value::Array(items)) if items.len() > 1 => {
            let (one, other) = (rng.usize(..items.len()), rng.usize(..items.len()));
            items.swap(one, other);
        }
        (6, node) => *node = donor,
        (_, node) => *node = leaf(rng),
    }
}

fn key(rng: &mut Rng) -> String {
    if rng.bool() {
        return format!("drainhook.io/{}", TABLE[rng.usize(..TABLE.len())].name);
    }
    KEYS[rng.usize(..KEYS.len())].to_owned()
}

fn leaf(rng: &mut Rng) -> Value {
    match rng.u8(..8) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!([0, 1, 30, 304, 305, 8090, 9901, 65536, -1, i64::MAX][rng.usize(..10)]),
        3 => json!({}),
        4 => json!([]),
        _ => json!(TEXTS[rng.usize(..TEXTS.len())]),
    }
}

fn count(value: &Value) -> usize {
    nodes(value).len()
}

fn nodes(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    let mut next = 0;
    while let Some(node) = all.get(next).copied() {
        match node {
            Value::Object(map) => all.extend(map.values()),
            Value::Array(items) => all.extend(items),
            _ => {}
        }
        next += 1;
    }
    all
}

/// The node of this number, counted from the root down.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Object(map) => map.values_mut().find_map(|inner| nth(inner, left)),
        Value::Array(items) => items.iter_mut().find_map(|inner| nth(inner, left)),
        _ => None,
    }
}

/// Whether each container has a name, and none the name of another. The API server refuses all other
/// pods, though only after the webhook has answered.
pub fn names_are_unique(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let items = lists
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten();
    let mut names = Map::new();
    items
        .map(|item| item["name"].as_str())
        .all(|name| name.is_some_and(|name| names.insert(name.to_owned(), Value::Null).is_none()))
}

/// Whether a container has the name of the sidecar, or an annotation says that there was one.
pub fn has_sidecar(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let mut items = lists
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten();
    items.any(|item| item["name"] == "shutdown-manager")
        || pod["metadata"]["annotations"]
            .get("drainhook.io/status")
            .is_some()
}
