//! Annotations, the installation's defaults, and the sidecar's flags and variables: lines of
//! `KEY=VALUE`, all of them given to all three.

#![no_main]

use drainhook_webhook::{
    Configuration, Decision, InstallationDefaults, KubernetesVersion, Origin, Quantity, Request,
    Token, decide, explain,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, json};
use shutdown_manager::admin::parse_addresses;
use shutdown_manager::settings::Settings;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let pairs: Vec<(&str, &str)> = lines.collect();
    for (_, value) in &pairs {
        single(value);
    }
    sidecar(&pairs);
    let _ = InstallationDefaults::parse(text);
    let defaults = InstallationDefaults::from_pairs(pairs.iter().copied());
    pod(&pairs, Configuration::default());
    if let Ok(defaults) = defaults {
        let configuration = Configuration {
            defaults,
            ..Configuration::default()
        };
        pod(&[], configuration);
    }
});

/// What is read from one text alone.
fn single(text: &str) {
    let _ = text.parse::<KubernetesVersion>();
    if let Ok(quantity) = Quantity::parse(text) {
        assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
    }
    if let Ok(addresses) = parse_addresses(text) {
        let written = addresses.iter().map(|(name, address)| match name {
            Some(name) => format!("{name}={address}"),
            None => address.to_string(),
        });
        let written: Vec<String> = written.collect();
        assert_eq!(parse_addresses(&written.join(",")), Ok(addresses));
    }
}

/// The sidecar's own reading, by flags and by variables.
fn sidecar(pairs: &[(&str, &str)]) {
    let flags = pairs
        .iter()
        .flat_map(|(key, value)| [format!("--{key}"), (*value).to_owned()]);
    let _ = Settings::read(flags, []);
    let variables = pairs.iter().map(|(key, value)| {
        let name = key.to_uppercase().replace('-', "_");
        (format!("SHUTDOWN_MANAGER_{name}"), (*value).to_owned())
    });
    let _ = Settings::read([], variables);
}

/// A pod with these annotations: what is written into its sidecar, the sidecar takes.
fn pod(pairs: &[(&str, &str)], configuration: Configuration) {
    let mut annotations = Map::from_iter([("drainhook.io/inject".to_owned(), json!("true"))]);
    for (key, value) in pairs {
        annotations.insert(format!("drainhook.io/{key}"), json!(value));
    }
    let pod = json!({
        "metadata": {"annotations": annotations},
        "spec": {
            "containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}, {"name": "app"}],
        },
    });
    let request = Request {
        pod: &pod,
        namespace: None,
        configuration: &configuration,
        token: Some(&Token::from_random(7)),
        origin: Origin::Admission,
    };
    let _ = explain(&request).unwrap();
    let Decision::Inject { patch, .. } = decide(&request).unwrap() else {
        return;
    };
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    let containers = ["containers", "initContainers"].map(|list| patched["spec"][list].as_array());
    let mut containers = containers.into_iter().flatten().flatten();
    let sidecar = containers
        .find(|container| container["name"] == "shutdown-manager")
        .unwrap();
    let variables = sidecar["env"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|variable| {
            let text = |key: &str| variable[key].as_str().unwrap().to_owned();
            // As the kubelet hands them on.
            (text("name"), text("value").replace("$$", "$"))
        });
    let read = Settings::read([], variables).unwrap();
    assert_eq!(read.notes, [""; 0]);
    let grace = patched["spec"]["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(30);
    assert!(read.plan.timeout.as_secs() + 5 <= grace, "{grace}");
    assert_eq!(
        patched["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"]["port"],
        read.port
    );
}
