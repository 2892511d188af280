//! Any pod, in any namespace, under any defaults: a tree of JSON
//! `{"pod": .., "namespace": .., "configuration": {..}}`, in the form of the goldens.

#![no_main]

use drainhook_webhook::{
    Configuration, Decision, InstallationDefaults, Namespace, Origin, Request, Token, UnknownKeys,
    decide, explain, injection_faults, uninject, warn,
};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::{Value, json};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    drainhook_fuzz::mutate(data, size, max_size, seed)
});

fuzz_target!(|input: &[u8]| {
    let Ok(input) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let (pod, settings) = (&input["pod"], &input["configuration"]);
    let namespace = input["namespace"]
        .is_object()
        .then(|| Namespace::from_object(&input["namespace"]));
    let defaults = settings["defaults"].to_string();
    let configuration = Configuration {
        defaults: InstallationDefaults::parse(&defaults).unwrap_or_default(),
        kubernetes: settings["kubernetes"]
            .as_str()
            .and_then(|text| text.parse().ok()),
        image_choice: settings["imageChoice"] == true,
        unknown_keys: match settings["unknownKeys"].as_str() {
            Some("warn") => UnknownKeys::Warn,
            _ => UnknownKeys::Deny,
        },
    };
    let on_command_line = settings["origin"] == "manifest";
    let token = Token::from_random(7);
    let request = Request {
        pod,
        namespace: namespace.as_ref(),
        configuration: &configuration,
        token: (!on_command_line).then_some(&token),
        origin: if on_command_line {
            Origin::Manifest
        } else {
            Origin::Admission
        },
    };
    let _ = injection_faults(pod);
    let _ = uninject(pod);
    let object = json!({"kind": "Deployment", "spec": {"template": pod}});
    let _ = warn(&object, namespace.as_ref(), &configuration);
    let _ = explain(&request).unwrap();
    let Decision::Inject { patch, .. } = decide(&request).unwrap() else {
        return;
    };
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    if !drainhook_fuzz::names_are_unique(&patched) {
        return;
    }
    let again = decide(&Request {
        pod: &patched,
        ..request
    })
    .unwrap();
    assert_eq!(again.reason(), "already-injected", "{again:?}");
    // What had a sidecar before was completed or upgraded; its first state is not known here.
    if !drainhook_fuzz::has_sidecar(pod) {
        let removal = uninject(&patched).unwrap().unwrap();
        assert_eq!(removal.pod, *pod);
    }
});
