//! Block scalars at the end of a text and before something else: all of them, and not those that
//! chance brings. Which of their last lines count is where a fault hides best.

use std::collections::BTreeMap;

use drainhook_webhook::manifest::{Change, edit, parse};
use json_patch::Patch;
use serde_json::{Value, json};

use super::edits::inverse;

const HEADERS: [&str; 6] = ["|", ">-", "|+", ">+", "|1", "|1+"];

const LINES: [&str; 5] = ["", "  ", " +", "  x", " \t"];

/// What stands before the header; what may follow the scalar; and what to do.
const FRAMES: [(&str, &str, &str); 3] = [
    (
        "a: ",
        "z: 1",
        r#"[{"op": "add", "path": "/new", "value": {"a": ["b", {}]}},
            {"op": "replace", "path": "/a", "value": "multi\nline"},
            {"op": "replace", "path": "/a", "value": {"b": 1}},
            {"op": "remove", "path": "/a"}, {"op": "remove", "path": "/z"}]"#,
    ),
    (
        "a:\n- ",
        "- z",
        r#"[{"op": "add", "path": "/a/-", "value": {"a": ["b", {}]}},
            {"op": "add", "path": "/a/0", "value": "x"},
            {"op": "add", "path": "/new", "value": 1},
            {"op": "replace", "path": "/a/0", "value": [1]},
            {"op": "remove", "path": "/a/0"}, {"op": "remove", "path": "/a/1"}]"#,
    ),
    (
        "- a: ",
        "---\nz: 1",
        r#"[{"op": "add", "path": "/0/b", "value": "x"}, {"op": "add", "path": "/-", "value": [1]},
            {"op": "replace", "path": "/0/a", "value": null},
            {"op": "remove", "path": "/0/a"}, {"op": "remove", "path": "/0"}]"#,
    ),
];

#[test]
fn every_block_scalar_keeps_its_value_whatever_happens_around_it() {
    let mut edited = 0;
    for (before, follows, operations) in FRAMES {
        let operations: Vec<Value> = serde_json::from_str(operations).unwrap();
        for header in HEADERS {
            for body in bodies() {
                let text = format!("{before}{header}{body}");
                for text in [
                    text.clone(),
                    format!("{text}\n"),
                    format!("{text}\n{follows}"),
                    format!("{text}\n{follows}\n  "),
                ] {
                    edited += edit_all(&text, &operations);
                    edited += edit_all(&text.replace('\n', "\r\n"), &operations);
                }
            }
        }
    }
    assert!(edited > 5_000, "only {edited} texts were edited");
}

/// No line, each line, and each two.
fn bodies() -> impl Iterator<Item = String> {
    let two = |first: &str| LINES.map(|second| format!("\n{first}\n{second}"));
    let one = LINES.map(|line| format!("\n{line}"));
    let none = [String::new()];
    none.into_iter()
        .chain(one)
        .chain(LINES.into_iter().flat_map(two))
}

/// How many of `operations` the first document takes. Each is taken back to the byte, unless it takes
/// something away; what is refused is refused in words.
fn edit_all(text: &str, operations: &[Value]) -> usize {
    let Ok(documents) = parse(text) else {
        return 0;
    };
    let mut edited = 0;
    for operation in operations {
        let value = &documents[0].value;
        let patch: Patch = serde_json::from_value(json!([operation])).unwrap();
        if json_patch::patch(&mut value.clone(), &patch).is_err() {
            continue;
        }
        let change = |patch, sources| Change {
            document: 0,
            at: "",
            patch,
            sources,
        };
        let none = BTreeMap::new();
        let there = match edit(text, &documents, &[change(&patch, &none)]) {
            Ok(there) => there,
            Err(faults) => {
                let message = faults[0].1.to_string();
                assert!(message.starts_with("line "), "{message}: {text:?} {patch}");
                continue;
            }
        };
        edited += 1;
        if operation["op"] == "remove" {
            continue;
        }
        let inverse = inverse(value, &patch);
        let sources = &there.sources[0];
        let back = edit(&there.text, &there.documents, &[change(&inverse, sources)]);
        assert_eq!(back.unwrap().text, text, "{:?} {patch}", there.text);
    }
    edited
}
