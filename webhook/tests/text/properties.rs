//! What holds for every document, every style and every patch.

use std::collections::BTreeMap;

use drainhook_webhook::manifest::{edit_bytes, parse};
use json_patch::Patch;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::edits::{apply, inverse};
use super::painter;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..70_000u32).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z][a-z./-]{0,12}".prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "[a-z]{1,6}( [a-z#:]{1,3}){0,2}(\n[ -~]{0,8}){0,3}\n{0,3}".prop_map(Value::from),
        prop_oneof![
            "yes", "on", "~", "0x1f", "1_0", "08", "1e3", "[.]inf", "<<", "- a", "#x"
        ]
        .prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,10}",
        prop_oneof![
            "spec",
            "containers",
            "name",
            "annotations",
            "drainhook[.]io/a~b"
        ],
        "[ -~]{0,8}",
    ]
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    prop::collection::vec((key(), value()), 1..6)
        .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()))
}

/// Where something can be added or replaced.
#[derive(Clone, Debug)]
struct Wish {
    place: prop::sample::Index,
    position: prop::sample::Index,
    key: String,
    value: Value,
    replace: bool,
}

fn wishes(replaces: bool) -> impl Strategy<Value = Vec<Wish>> {
    let wish = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        key(),
        value(),
        any::<bool>(),
    )
        .prop_map(move |(place, position, key, value, replace)| Wish {
            place,
            position,
            key,
            value,
            replace: replace && replaces,
        });
    prop::collection::vec(wish, 1..5)
}

/// A patch in the manner of ours: it adds and it replaces, and never what it wrote itself.
fn patch(original: &Value, wishes: &[Wish]) -> Patch {
    let mut value = original.clone();
    let mut operations = Vec::new();
    let mut touched: Vec<String> = Vec::new();
    for wish in wishes {
        let mut places = Vec::new();
        collect(&value, String::new(), &mut places);
        places.retain(|(place, _)| {
            !touched
                .iter()
                .any(|touched| place.starts_with(touched.as_str()))
        });
        if places.is_empty() {
            continue;
        }
        let (place, kind) = wish.place.get(&places).clone();
        let escaped = wish.key.replace('~', "~0").replace('/', "~1");
        let operation = match kind {
            Kind::Map(keys) if !keys.contains(&wish.key) => {
                json!({"op": "add", "path": format!("{place}/{escaped}"), "value": wish.value})
            }
            Kind::List(length) => {
                let at = wish.position.index(length + 1);
                // Behind an index that moves, pointers of earlier operations would be wrong.
                let at = if at == length {
                    "-".to_owned()
                } else {
                    at.to_string()
                };
                if at != "-" && touched.iter().any(|touched| touched.starts_with(&place)) {
                    continue;
                }
                json!({"op": "add", "path": format!("{place}/{at}"), "value": wish.value})
            }
            Kind::Scalar if wish.replace && !wish.value.is_null() => {
                json!({"op": "replace", "path": place, "value": wish.value})
            }
            _ => continue,
        };
        let path = operation["path"].as_str().unwrap().to_owned();
        let operation: Patch = serde_json::from_value(json!([operation])).unwrap();
        json_patch::patch(&mut value, &operation).unwrap();
        operations.extend(operation.0);
        touched.push(if path.ends_with("/-") { place } else { path });
    }
    Patch(operations)
}

#[derive(Clone, Debug)]
enum Kind {
    Map(Vec<String>),
    List(usize),
    Scalar,
}

fn collect(value: &Value, pointer: String, places: &mut Vec<(String, Kind)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{pointer}/{key}"), places);
            }
            places.push((pointer, Kind::Map(map.keys().cloned().collect())));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/{index}"), places);
            }
            places.push((pointer, Kind::List(items.len())));
        }
        _ => places.push((pointer, Kind::Scalar)),
    }
}

fn is_subsequence(needle: &str, hay: &str) -> bool {
    let mut hay = hay.chars();
    needle.chars().all(|c| hay.any(|h| h == c))
}

fn there_and_back(text: &str, original: &Value, patch: &Patch) -> Result<String, TestCaseError> {
    let (edited, sources) = match apply(text, patch, &BTreeMap::new()) {
        Ok(done) => done,
        // A sequence whose last line is not finished is refused in words.
        Err(refused) => {
            prop_assert!(
                refused.contains("without a line break"),
                "{refused}\n{text}\n{patch}"
            );
            return Err(TestCaseError::reject("refused"));
        }
    };
    let mut patched = original.clone();
    json_patch::patch(&mut patched, patch).unwrap();
    prop_assert_eq!(&parse(&edited).unwrap()[0].value, &patched, "{}", edited);
    let back = inverse(original, patch);
    let restored = apply(&edited, &back, &sources);
    prop_assert_eq!(
        restored.map(|(text, _)| text),
        Ok(text.to_owned()),
        "after\n{}\nby {}",
        edited,
        patch
    );
    Ok(edited)
}

proptest! {
    #[test]
    fn what_is_added_to_yaml_is_taken_out_to_the_byte(
        value in document(), choices in prop::collection::vec(any::<u8>(), 0..200),
        wishes in wishes(false),
    ) {
        let text = painter::yaml(&value, &choices);
        prop_assert_eq!(&parse(&text).unwrap()[0].value, &value, "{}", text);
        let patch = patch(&value, &wishes);
        let edited = there_and_back(&text, &value, &patch)?;
        // An empty collection may become a full one of another style: then its brackets go.
        if !text.contains("{}") && !text.contains("[]") && !text.contains("{ }") && !text.contains("{  }") {
            prop_assert!(is_subsequence(&text, &edited), "{text}\n{edited}");
        }
    }

    #[test]
    fn what_is_changed_in_yaml_is_changed_back_to_the_byte(
        value in document(), choices in prop::collection::vec(any::<u8>(), 0..200),
        wishes in wishes(true),
    ) {
        let text = painter::yaml(&value, &choices);
        there_and_back(&text, &value, &patch(&value, &wishes))?;
    }

    #[test]
    fn what_is_changed_in_json_is_changed_back_to_the_byte(
        value in document(), choices in prop::collection::vec(any::<u8>(), 2..5),
        wishes in wishes(true),
    ) {
        let text = painter::json(&value, &choices);
        let value: Value = serde_json::from_str(&text).unwrap();
        let edited = there_and_back(&text, &value, &patch(&value, &wishes))?;
        prop_assert!(serde_json::from_str::<Value>(&edited).is_ok(), "{edited}");
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let patch: Patch = serde_json::from_str(r#"[{"op": "add", "path": "/a", "value": {}}]"#).unwrap();
        let _ = edit_bytes(&bytes, &patch);
    }

    #[test]
    fn no_text_of_indicators_makes_it_panic(text in "[-?:,{}\\[\\]#&*!|>'\"%@ \t\r\na~<.\u{feff}é]{0,40}") {
        let patch: Patch = serde_json::from_str(r#"[{"op": "add", "path": "/a", "value": {}}]"#).unwrap();
        let _ = edit_bytes(text.as_bytes(), &patch);
    }
}
