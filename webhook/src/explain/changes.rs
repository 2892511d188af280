//! A patch as the places that it changes, each with what is there before and after.

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde::Serialize;
use serde_json::Value;

use crate::message::printable;

/// One operation of the patch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What is done.
    pub operation: Operation,
    /// Where, as a JSON pointer in the pod as it is when the changes before this one are made.
    pub pointer: String,
    /// Where, with names for indexes: `spec.containers[envoy].lifecycle`.
    pub place: String,
    /// What was there.
    pub before: Option<Value>,
    /// What will be there; `None` where it is removed.
    pub after: Option<Value>,
}

/// What is done to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// There was nothing.
    Add,
    /// There was another value.
    Replace,
    /// There will be nothing.
    Remove,
}

/// The operations of a patch, each with what is there before it.
pub(super) fn changes(pod: &Value, patch: &[PatchOperation]) -> Vec<Change> {
    let mut pod = pod.clone();
    let mut changes = Vec::with_capacity(patch.len());
    for operation in patch {
        let pointer = operation.path();
        let is_item = parent(&pod, pointer).is_some_and(Value::is_array);
        let there = pointer.resolve(&pod).ok().cloned();
        let removed = matches!(operation, PatchOperation::Remove(_)).then(|| place(&pod, pointer));
        if json_patch::patch(&mut pod, std::slice::from_ref(operation)).is_err() {
            // It applied when it was drafted; what cannot be applied is not there to be shown.
            continue;
        }
        let (before, after) = match operation {
            // A new item moves the one that stood at its index.
            PatchOperation::Add(add) if is_item => (None, Some(add.value.clone())),
            PatchOperation::Add(add) => (there, Some(add.value.clone())),
            PatchOperation::Replace(replace) => (there, Some(replace.value.clone())),
            _ => (there, None),
        };
        let place = removed.unwrap_or_else(|| place(&pod, pointer));
        changes.push(Change {
            operation: match (&before, &after) {
                (_, None) => Operation::Remove,
                (None, Some(_)) => Operation::Add,
                (Some(_), Some(_)) => Operation::Replace,
            },
            pointer: pointer.to_string(),
            place,
            before,
            after,
        });
    }
    changes
}

fn parent<'v>(pod: &'v Value, pointer: &Pointer) -> Option<&'v Value> {
    pointer.parent()?.resolve(pod).ok()
}

/// A pointer as a person reads it.
fn place(pod: &Value, pointer: &Pointer) -> String {
    let mut words = String::new();
    let mut value = Some(pod);
    for token in pointer.tokens() {
        let step = token.decoded();
        let child = value.and_then(|value| match value {
            Value::Object(map) => map.get(step.as_ref()),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        });
        if value.is_some_and(Value::is_array) {
            let name = child.and_then(|item| item.get("name")?.as_str());
            words.push_str(&format!("[{}]", printable(name.unwrap_or(&step))));
        } else if step.contains(['.', '/']) {
            words.push_str(&format!("[{}]", printable(&step)));
        } else {
            if !words.is_empty() {
                words.push('.');
            }
            words.push_str(&printable(&step));
        }
        value = child;
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_item_moves_what_stood_there_and_each_change_is_told_where_it_then_is() {
        let pod = json!({"items": [{"name": "a"}], "value": 1});
        let patch: Vec<PatchOperation> = serde_json::from_value(json!([
            {"op": "add", "path": "/items/0", "value": {"name": "b"}},
            {"op": "add", "path": "/value", "value": 2},
            {"op": "replace", "path": "/items/1/name", "value": "c"},
            {"op": "remove", "path": "/items/1"},
        ]))
        .unwrap();
        let changes = changes(&pod, &patch).into_iter();
        let shown: Vec<_> = changes
            .map(|change| {
                let pointer = change.pointer;
                (
                    change.operation,
                    pointer,
                    change.place,
                    change.before,
                    change.after,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (
                    Operation::Add,
                    "/items/0".to_owned(),
                    "items[b]".to_owned(),
                    None,
                    Some(json!({"name": "b"}))
                ),
                (
                    Operation::Replace,
                    "/value".to_owned(),
                    "value".to_owned(),
                    Some(json!(1)),
                    Some(json!(2))
                ),
                (
                    Operation::Replace,
                    "/items/1/name".to_owned(),
                    "items[c].name".to_owned(),
                    Some(json!("a")),
                    Some(json!("c"))
                ),
                (
                    Operation::Remove,
                    "/items/1".to_owned(),
                    "items[c]".to_owned(),
                    Some(json!({"name": "c"})),
                    None
                ),
            ]
        );
    }
}
