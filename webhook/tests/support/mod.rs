//! What several tests need: files, and an implementation of JSON Patch that is not the product's.

#![allow(dead_code)]

pub(crate) mod pods;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Reads a file with one YAML document.
pub(crate) fn yaml(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Writes a value as YAML that reads back as the same.
pub(crate) fn to_yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).unwrap();
    let back: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(back, *value, "{text}");
    text
}

/// Applies `add`, `replace` and `remove` of RFC 6902, written for these tests alone, so that a fault
/// of the product's library would show.
pub(crate) fn apply(document: &Value, patch: &Value) -> Result<Value, String> {
    let mut document = document.clone();
    for operation in patch.as_array().ok_or("a patch is a list")? {
        let text = |key: &str| {
            operation[key]
                .as_str()
                .ok_or(format!("no {key}: {operation}"))
        };
        let path = text("path")?;
        let value = operation.get("value").cloned();
        let (parent, last) = path
            .rsplit_once('/')
            .ok_or("the whole document is not replaced")?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let target = document
            .pointer_mut(parent)
            .ok_or(format!("nothing at {parent}"))?;
        match (text("op")?, target, value) {
            ("add", Value::Object(map), Some(value)) => drop(map.insert(last, value)),
            ("replace", Value::Object(map), Some(value)) => {
                *map.get_mut(&last).ok_or(format!("nothing at {path}"))? = value;
            }
            ("remove", Value::Object(map), None) => {
                map.shift_remove(&last)
                    .ok_or(format!("nothing at {path}"))?;
            }
            (op, Value::Array(items), value) => {
                let index = match last.as_str() {
                    "-" => items.len(),
                    digits => digits.parse().map_err(|_| format!("no index: {path}"))?,
                };
                match (op, value) {
                    ("add", Some(value)) if index <= items.len() => items.insert(index, value),
                    ("replace", Some(value)) if index < items.len() => items[index] = value,
                    ("remove", None) if index < items.len() => drop(items.remove(index)),
                    _ => return Err(format!("cannot be applied: {operation}")),
                }
            }
            _ => return Err(format!("cannot be applied: {operation}")),
        }
    }
    Ok(document)
}
