//! Whatever is in a file that is given to `drainhook inject` and `uninject`.

#![no_main]

use drainhook_webhook::Configuration;
use drainhook_webhook::cli::{inject_text, uninject_text};
use drainhook_webhook::manifest::{edit_bytes, parse};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(documents) = parse(text) else {
        return;
    };
    // Anywhere in any document; what comes out is read again by the engine itself and compared.
    for document in &documents {
        let first = document.value.as_object().and_then(|map| map.keys().next());
        let path = format!(
            "/{}",
            first
                .map_or("a", String::as_str)
                .replace('~', "~0")
                .replace('/', "~1")
        );
        for operation in [
            json!({"op": "add", "path": "/new", "value": {"a": ["b", "c: d", null, {}]}}),
            json!({"op": "replace", "path": path, "value": "multi\nline"}),
            json!({"op": "remove", "path": path}),
        ] {
            let patch = serde_json::from_value(json!([operation])).unwrap();
            if let Err(message) = edit_bytes(input, &patch) {
                assert!(!message.contains("fault of drainhook"), "{message}");
            }
        }
    }
    let once = match inject_text(text, &Configuration::default()) {
        Ok(once) => once,
        Err(messages) => {
            let ours = messages
                .iter()
                .find(|message| message.contains("fault of drainhook"));
            return assert_eq!(ours, None);
        }
    };
    if once == text {
        return;
    }
    let values = |text: &str| -> Vec<_> {
        parse(text)
            .unwrap()
            .into_iter()
            .map(|document| document.value)
            .collect()
    };
    assert_eq!(inject_text(&once, &Configuration::default()).unwrap(), once);
    let back = uninject_text(&once).unwrap();
    let had_none = !text.contains("shutdown-manager") && !text.contains("drainhook.io/status");
    if had_none {
        assert_eq!(values(&back), values(text));
        assert_eq!(back, text);
    }
});
