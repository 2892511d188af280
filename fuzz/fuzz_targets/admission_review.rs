//! Whatever is posted to `/mutate`: bytes in, bytes out.

#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use drainhook_webhook::{KubernetesVersion, serve::Reviewer};
use json_patch::Patch;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::{Value, json};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    drainhook_fuzz::mutate(data, size, max_size, seed)
});

fuzz_target!(|body: &[u8]| {
    let reviewer = Reviewer::new(Some(KubernetesVersion::NATIVE_SIDECARS_EVERYWHERE));
    let answer = match reviewer.mutate(body) {
        Ok(answer) => answer,
        Err(error) => return assert!(!error.is_ours(), "{error}"),
    };
    // What the envelope does not ask for is passed over unread, were it no text.
    let Ok(mut review) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    let Some(patch) = answer["response"]["patch"].as_str() else {
        return assert_eq!(answer["response"]["patchType"], Value::Null);
    };
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    assert_eq!(answer["response"]["allowed"], true);
    let patch: Patch = serde_json::from_slice(&BASE64.decode(patch).unwrap()).unwrap();
    let object = &mut review["request"]["object"];
    json_patch::patch(object, &patch).unwrap();
    if drainhook_fuzz::names_are_unique(object) {
        let again = reviewer
            .mutate(json!(review).to_string().as_bytes())
            .unwrap();
        let again: Value = serde_json::from_slice(&again).unwrap();
        assert_eq!(again["response"]["patch"], Value::Null, "{again}");
    }
});
