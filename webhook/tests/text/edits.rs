//! One table of texts: each is edited, compared, and edited back to the byte.

use std::collections::BTreeMap;

use drainhook_webhook::manifest::{Change, EditError, edit, parse};
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

/// The patch that takes `patch` back, for the value that it was made for.
pub(crate) fn inverse(value: &Value, patch: &Patch) -> Patch {
    let mut value = value.clone();
    let mut inverse = Vec::new();
    for operation in &patch.0 {
        let path = operation.path().to_string();
        let (parent, token) = path.rsplit_once('/').unwrap();
        let path = match value.pointer(parent) {
            Some(Value::Array(items)) if token == "-" => format!("{parent}/{}", items.len()),
            _ => path.clone(),
        };
        let in_array = value.pointer(parent).is_some_and(Value::is_array);
        let old = value.pointer(&path).cloned();
        let undo = match (operation, old) {
            (PatchOperation::Add(_), Some(old)) if !in_array => {
                json!({"op": "replace", "path": path, "value": old})
            }
            (PatchOperation::Add(_), _) => json!({"op": "remove", "path": path}),
            (PatchOperation::Replace(_), Some(old)) => {
                json!({"op": "replace", "path": path, "value": old})
            }
            (PatchOperation::Remove(_), Some(old)) => {
                json!({"op": "add", "path": path, "value": old})
            }
            (operation, _) => panic!("{operation} cannot be taken back"),
        };
        inverse.push(serde_json::from_value(undo).unwrap());
        json_patch::patch(&mut value, &Patch(vec![operation.clone()])).unwrap();
    }
    inverse.reverse();
    Patch(inverse)
}

/// Edits the only document of `text`; gives the new text and what restores the old one.
pub(crate) fn apply(
    text: &str,
    patch: &Patch,
    sources: &BTreeMap<String, String>,
) -> Result<(String, BTreeMap<String, String>), String> {
    let documents = parse(text).map_err(|faults| faults[0].to_string())?;
    let change = Change {
        document: 0,
        at: "",
        patch,
        sources,
    };
    let edited = edit(text, &documents, &[change]).map_err(|faults| faults[0].1.to_string())?;
    Ok((edited.text, edited.sources.into_iter().next().unwrap()))
}

/// Edits, and back: the bytes must be the same.
pub(crate) fn there_and_back(text: &str, patch: &Patch) -> String {
    let value = parse(text).unwrap()[0].value.clone();
    let (edited, sources) = apply(text, patch, &BTreeMap::new()).unwrap();
    let back = inverse(&value, patch);
    let (restored, _) = apply(&edited, &back, &sources).unwrap();
    assert_eq!(
        restored, text,
        "after\n{edited}\nback by {back}, sources {sources:?}"
    );
    edited
}

fn patch(operations: Value) -> Patch {
    serde_json::from_value(operations).unwrap()
}

fn add(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

fn replace(path: &str, value: Value) -> Value {
    json!({"op": "replace", "path": path, "value": value})
}

#[track_caller]
fn case(before: &str, operations: Value, after: &str) {
    let edited = there_and_back(before, &patch(operations));
    assert_eq!(edited, after, "got\n{edited}");
}

#[test]
fn a_key_goes_behind_the_last_one() {
    case(
        "a: 1\nb: 2 # two\n# end\n",
        json!([add("/c", json!("x"))]),
        "a: 1\nb: 2 # two\nc: x\n# end\n",
    );
}

#[test]
fn a_file_without_a_last_line_break_stays_so() {
    case(
        "a: 1",
        json!([add("/b", json!({"c": [1]}))]),
        "a: 1\nb:\n  c:\n  - 1",
    );
}

#[test]
fn lines_end_as_they_did() {
    case(
        "a:\r\n  b: 1\r\n",
        json!([add("/a/c", json!("yes"))]),
        "a:\r\n  b: 1\r\n  c: \"yes\"\r\n",
    );
}

#[test]
fn a_byte_order_mark_stays() {
    case(
        "\u{feff}a: 1\n",
        json!([add("/b", json!(2))]),
        "\u{feff}a: 1\nb: 2\n",
    );
}

#[test]
fn a_byte_order_mark_below_a_comment_stays_and_indents_nothing() {
    for (text, expected) in [
        (
            "# b\n\u{feff}a: 1\nc: 1\n",
            "# b\n\u{feff}a: 1\nc: 1\nb: 2\n",
        ),
        (
            "\u{feff}\u{feff}a: 1\n---\nd: 1\n",
            "\u{feff}\u{feff}a: 1\nb: 2\n---\nd: 1\n",
        ),
        ("# b\n\u{feff}a:\n- 1\n", "# b\n\u{feff}a:\n- 1\nb: 2\n"),
    ] {
        case(text, json!([add("/b", json!(2))]), expected);
    }
    let removed = apply(
        "# b\n\u{feff}a: 1\nb: 2\n",
        &patch(json!([{"op": "remove", "path": "/a"}])),
        &BTreeMap::new(),
    );
    assert_eq!(removed.unwrap().0, "# b\n\u{feff}b: 2\n");
}

#[test]
fn sequences_are_indented_as_the_others_are() {
    case(
        "a:\n  - b: 1\n    c:\n      - d\n",
        json!([add("/a/-", json!({"e": ["f"], "name": "m"}))]),
        "a:\n  - b: 1\n    c:\n      - d\n  - name: m\n    e:\n      - f\n",
    );
    case(
        "a:\n- b: 1\n  c:\n  - d\n",
        json!([add("/a/-", json!({"e": ["f"]}))]),
        "a:\n- b: 1\n  c:\n  - d\n- e:\n  - f\n",
    );
    case(
        "a:\n    b:\n        c: 1\n",
        json!([add("/d", json!({"e": {"f": 1}}))]),
        "a:\n    b:\n        c: 1\nd:\n    e:\n        f: 1\n",
    );
}

#[test]
fn an_item_goes_first_or_between() {
    case(
        "a:\n# one\n- 1\n# two\n- 2\n",
        json!([add("/a/0", json!(0)), add("/a/2", json!(15))]),
        "a:\n# one\n- 0\n- 1\n- 15\n# two\n- 2\n",
    );
    case(
        "- - 1\n  - 2\n",
        json!([add("/0/0", json!(0))]),
        "- - 0\n  - 1\n  - 2\n",
    );
}

#[test]
fn a_scalar_keeps_its_surroundings() {
    case(
        "a:   30   # s\nb: 1\n",
        json!([replace("/a", json!(305))]),
        "a:   305   # s\nb: 1\n",
    );
    case("a: 0x1e\n", json!([replace("/a", json!(305))]), "a: 305\n");
    case(
        "a: '30'\n",
        json!([replace("/a", json!("x: y"))]),
        "a: 'x: y'\n",
    );
    case(
        "a: !!int \"30\"\n",
        json!([replace("/a", json!(3))]),
        "a: 3\n",
    );
    case(
        "a:\n  30 # s\n",
        json!([replace("/a", json!(3))]),
        "a:\n  3 # s\n",
    );
    case(
        "a: |\n  x\n\nb: 1\n",
        json!([replace("/a", json!("z"))]),
        "a: z\n\nb: 1\n",
    );
}

#[test]
fn nothing_becomes_something() {
    for (before, after) in [
        ("a: {}\nb: 1\n", "a:\n  c: 1\nb: 1\n"),
        ("a: { } # none\nb: 1\n", "a: # none\n  c: 1\nb: 1\n"),
        ("a:\nb: 1\n", "a:\n  c: 1\nb: 1\n"),
        ("a: # none\nb: 1\n", "a: # none\n  c: 1\nb: 1\n"),
        ("a: null\nb: 1\n", "a:\n  c: 1\nb: 1\n"),
        ("a: ~ \nb: 1\n", "a: \n  c: 1\nb: 1\n"),
        ("b: 1\na:", "b: 1\na:\n  c: 1"),
        ("a: {\n  # none\n}\nb: 1\n", "a:\n  c: 1\nb: 1\n"),
    ] {
        let old = &parse(before).unwrap()[0].value["a"];
        let operations = if old.is_null() {
            json!([replace("/a", json!({})), add("/a/c", json!(1))])
        } else {
            json!([add("/a/c", json!(1))])
        };
        case(before, operations, after);
    }
    case(
        "a: []\n",
        json!([add("/a/-", json!({"b": 1}))]),
        "a:\n- b: 1\n",
    );
    case(
        "- {}\n- x\n",
        json!([add("/0/b", json!({"c": 1, "d": 2}))]),
        "- b:\n    c: 1\n    d: 2\n- x\n",
    );
    case(
        "-\n- x\n",
        json!([replace("/0", json!({"c": 1, "d": 2}))]),
        "- c: 1\n  d: 2\n- x\n",
    );
}

#[test]
fn a_block_gives_way_to_another() {
    case(
        "a: # why\n  b: 1 # one\n  # two\n  c: 2 # end\nd: 1\n",
        json!([replace("/a", json!({"x": {"z": 1}}))]),
        "a: # why\n  x:\n    z: 1\nd: 1\n",
    );
    case(
        "a: # why\n  b: 1\nd: 1\n",
        json!([replace("/a", json!("x"))]),
        "a: x # why\nd: 1\n",
    );
    case(
        "- a: 1\n  b: 2\n- c\n",
        json!([replace("/0", json!({"d": 1, "e": 2}))]),
        "- d: 1\n  e: 2\n- c\n",
    );
    case(
        "a: &x\n  b: 1\nd: 1\n",
        json!([replace("/a", json!({"c": 1}))]),
        "a:\n  c: 1\nd: 1\n",
    );
}

#[test]
fn a_block_scalar_at_the_end_keeps_its_value() {
    case(
        "a: 1\nb: |\n  x\n  y",
        json!([add("/c", json!(1))]),
        "c: 1\na: 1\nb: |\n  x\n  y",
    );
    case(
        "a: 1\nb: |\n  x\n\n\n",
        json!([add("/c", json!(1))]),
        "a: 1\nb: |\n  x\nc: 1\n\n\n",
    );
    case(
        "a: 1\nb: |+\n  x\n\n\n",
        json!([add("/c", json!(1))]),
        "a: 1\nb: |+\n  x\n\n\nc: 1\n",
    );
    case(
        "- a: |\n    x",
        json!([add("/0/c", json!(1))]),
        "- c: 1\n  a: |\n    x",
    );
}

#[test]
fn a_block_scalar_that_ends_with_blanks_and_no_line_break_keeps_its_value() {
    for (text, expected) in [
        ("a: |+\n +\n  ", "c: 1\na: |+\n +\n  "),
        ("a: >+\r\n b\r\n   ", "c: 1\r\na: >+\r\n b\r\n   "),
        ("a: |1\n  ", "c: 1\na: |1\n  "),
        ("a: |2-\n   ", "a: |2-\n   \nc: 1"),
        ("a: |+\n b\n ", "a: |+\n b\nc: 1\n "),
        ("a: |+\n  ", "a: |+\nc: 1\n  "),
    ] {
        case(text, json!([add("/c", json!(1))]), expected);
    }
    case("a: |+\n +\n  ", json!([replace("/a", json!("x"))]), "a: x");
    let refused = apply(
        "a:\n- |+\n +\n  ",
        &patch(json!([add("/a/-", json!(1))])),
        &BTreeMap::new(),
    );
    assert_eq!(
        refused.unwrap_err(),
        "line 4: /a is written up to a last line without a line break; write it with one"
    );
}

#[test]
fn the_line_break_of_a_block_scalar_stays_where_the_last_lines_go() {
    for (text, expected) in [
        ("a: |\n  x\nb: 1", "a: |\n  x\n"),
        ("a: >+\r\n  x\r\n\r\nb: 1", "a: >+\r\n  x\r\n\r\n"),
        ("a: |-\n  x\nb: 1", "a: |-\n  x"),
        ("a: |\nb: 1", "a: |"),
    ] {
        let removed = apply(
            text,
            &patch(json!([{"op": "remove", "path": "/b"}])),
            &BTreeMap::new(),
        );
        assert_eq!(removed.unwrap().0, expected, "{text:?}");
    }
}

#[test]
fn lines_that_a_block_scalar_would_take_in_are_refused_in_words() {
    for text in [
        "a: |+\n  x\nb: 1\n\nc: 1\n",
        "a: |\n  x\nb: 1\n   \n",
        "a: >-\n  x\n\nb: 1\n  # two\nc: 1\n",
    ] {
        let removed = apply(
            text,
            &patch(json!([{"op": "remove", "path": "/b"}])),
            &BTreeMap::new(),
        );
        let message = removed.unwrap_err();
        assert!(
            message.contains("a block scalar would take in"),
            "{message}"
        );
    }
    let removed = apply(
        "a: |\n  x\nb: 1\n\n# three\nc: 1\n",
        &patch(json!([{"op": "remove", "path": "/b"}])),
        &BTreeMap::new(),
    );
    assert_eq!(removed.unwrap().0, "a: |\n  x\n\n# three\nc: 1\n");
}

#[test]
fn flow_style_stays_flow_style() {
    case(
        "a: {b: 1}\n",
        json!([add("/a/c", json!({"d": [1, "x,y"]}))]),
        "a: {b: 1, c: {d: [1, \"x,y\"]}}\n",
    );
    case(
        "a: [1, 2,]\n",
        json!([add("/a/-", json!(3))]),
        "a: [1, 2, 3,]\n",
    );
    case(
        "a: [1, 2]\n",
        json!([add("/a/0", json!(0))]),
        "a: [0, 1, 2]\n",
    );
    case(
        "a: [\n  1, # one\n  2 # two\n]\n",
        json!([add("/a/-", json!(3))]),
        "a: [\n  1, # one\n  2, # two\n  3\n]\n",
    );
    case(
        "a: [\n  1,\n  2, # two\n]\n",
        json!([add("/a/-", json!({"b": 1}))]),
        "a: [\n  1,\n  2, # two\n  {\n    b: 1\n  },\n]\n",
    );
    case(
        "{a: , b: c}\n",
        json!([replace("/a", json!(1))]),
        "{a: 1 , b: c}\n",
    );
    case(
        "a: {b: {}}\n",
        json!([add("/a/b/c", json!(1))]),
        "a: {b: {c: 1}}\n",
    );
}

#[test]
fn json_stays_json() {
    case(
        "{\n    \"a\": {\n        \"b\": 1\n    },\n    \"c\": {}\n}",
        json!([add("/a/d", json!({"e": [true]})), add("/c/f", json!("yes"))]),
        "{\n    \"a\": {\n        \"b\": 1,\n        \"d\": {\n            \"e\": [\n                true\n            ]\n        }\n    },\n    \"c\": {\n        \"f\": \"yes\"\n    }\n}",
    );
    case(
        "{\"a\":{\"b\":1}}",
        json!([add("/a/c", json!([1, {"d": 2}]))]),
        "{\"a\":{\"b\":1,\"c\":[1,{\"d\":2}]}}",
    );
    case(
        "{\"a\": {\"b\": 1}}\n",
        json!([add("/a/c", json!([1, 2]))]),
        "{\"a\": {\"b\": 1, \"c\": [1, 2]}}\n",
    );
    case(
        "{\n\t\"a\": 1\n}\n",
        json!([add("/b", json!({"c": 1}))]),
        "{\n\t\"a\": 1,\n\t\"b\": {\n\t\t\"c\": 1\n\t}\n}\n",
    );
    case("{}", json!([add("/b", json!(1))]), "{\"b\":1}");
}

#[test]
fn what_an_alias_repeats_is_not_changed() {
    let refused = |text: &str, operation: Value| {
        let patch = patch(json!([operation]));
        let documents = parse(text).unwrap();
        let sources = BTreeMap::new();
        let change = Change {
            document: 0,
            at: "",
            patch: &patch,
            sources: &sources,
        };
        edit(text, &documents, &[change]).unwrap_err().remove(0).1
    };
    let text = "a: &x\n  b: 1\nc: *x\nd:\n  <<: *x\n  e: 1\n";
    let pointer = |pointer: &str| pointer.to_owned();
    assert_eq!(
        refused(text, add("/a/z", json!(1))),
        EditError::Shared {
            pointer: pointer("/a"),
            line: 1
        }
    );
    assert_eq!(
        refused(text, add("/c/z", json!(1))),
        EditError::Alias {
            pointer: pointer("/c"),
            line: 3
        }
    );
    assert_eq!(
        refused(text, replace("/d/b", json!(1))),
        EditError::Merged {
            pointer: pointer("/d/b"),
            line: 5
        }
    );
    assert_eq!(
        refused(text, json!({"op": "remove", "path": "/a"})),
        EditError::Shared {
            pointer: String::new(),
            line: 1
        }
    );
    case(
        text,
        json!([add("/d/z", json!(1))]),
        "a: &x\n  b: 1\nc: *x\nd:\n  <<: *x\n  e: 1\n  z: 1\n",
    );
}

#[test]
fn a_key_that_a_merge_brings_as_well_is_refused_where_the_merge_would_win() {
    let edited = |text: &str, operation: Value| {
        apply(text, &patch(json!([operation])), &BTreeMap::new()).map(|(text, _)| text)
    };
    let merged = "line 1: /a comes from a merge key (`<<`); write it out where it is merged, so \
                  that it can be changed here alone";
    let remove = json!({"op": "remove", "path": "/a"});
    assert_eq!(edited("<<: {a: 1}\na: 2\n", remove), Err(merged.to_owned()));
    assert_eq!(
        edited("a: 2\n<<: {a: 1}\n", replace("/a", json!(3))),
        Err(merged.replace("line 1", "line 2"))
    );
    assert_eq!(
        edited("<<: {a: 1}\na: 2\n", replace("/a", json!(3))),
        Ok("<<: {a: 1}\na: 3\n".to_owned())
    );
}

#[test]
fn a_key_with_a_question_mark_keeps_it() {
    case(
        "? a\n: b: 1\n",
        json!([add("/a/c", json!(2))]),
        "? a\n: b: 1\n  c: 2\n",
    );
    case(
        "? a\n: - 1\n",
        json!([add("/a/-", json!(2))]),
        "? a\n: - 1\n  - 2\n",
    );
    let replaced = apply(
        "? a\n: 1\n",
        &patch(json!([replace("/a", json!(2))])),
        &BTreeMap::new(),
    );
    assert_eq!(
        replaced.unwrap_err(),
        "line 1: /a is written with `? key`; write it as `key: value`"
    );
}

#[test]
fn a_key_that_begins_with_a_colon_is_no_value_of_the_one_above() {
    let removed = apply(
        "? a\n:b c: 1\nd: 2\n",
        &patch(json!([{"op": "remove", "path": "/a"}])),
        &BTreeMap::new(),
    );
    assert_eq!(removed.unwrap().0, ":b c: 1\nd: 2\n");
}

#[test]
fn blanks_at_the_end_of_a_block_scalar_are_its_own_where_they_are_deeper() {
    for (text, expected) in [
        ("a: |-\n b\n   \n\n", "a: |-\n b\n   \nc: 1\n\n"),
        ("a: |\n b\n \n", "a: |\n b\nc: 1\n \n"),
        ("a: |1-\n   b\n  \n", "a: |1-\n   b\n  \nc: 1\n"),
        ("a: >-\r\n b\r\n  \r\n", "a: >-\r\n b\r\n  \r\nc: 1\r\n"),
    ] {
        case(text, json!([add("/c", json!(1))]), expected);
    }
}

#[test]
fn what_is_added_behind_what_goes_takes_its_place_between_the_commas() {
    let changes = json!([
        {"op": "remove", "path": "/b"},
        {"op": "remove", "path": "/c"},
        add("/d", json!("x")),
        add("/e", json!([])),
    ]);
    for (text, expected) in [
        ("{a: 1, b: 2, c: [3]}\n", "{a: 1, d: x, e: []}\n"),
        ("{a: 1, b: 2, c: [3],}\n", "{a: 1, d: x, e: [],}\n"),
        (
            "{\n  a: 1,\n  b: 2, # two\n  c: [3] # three\n}\n",
            "{\n  a: 1,\n  d: x,\n  e: [] # three\n}\n",
        ),
        (
            r#"{"a": 1, "b": 2, "c": [3]}"#,
            r#"{"a": 1, "d": "x", "e": []}"#,
        ),
    ] {
        let edited = apply(text, &patch(changes.clone()), &BTreeMap::new());
        assert_eq!(edited.unwrap().0, expected);
    }
}

#[test]
fn an_anchor_that_nobody_repeats_does_not_matter() {
    case(
        "a: &x\n  b: 1\n",
        json!([add("/a/c", json!(2))]),
        "a: &x\n  b: 1\n  c: 2\n",
    );
}
