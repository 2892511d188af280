//! Where values come from, and what gives way.

use super::*;
use crate::configuration::UnknownKeys;

fn resolved(pod: &[(&str, &str)], namespace: &[(&str, &str)], file: &str) -> Resolution {
    let pod = PodAnnotations::of(pod.iter().copied());
    let namespace = Namespace {
        name: "shop".into(),
        annotations: namespace
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        ..Namespace::default()
    };
    let configuration = Configuration {
        defaults: InstallationDefaults::parse(file).unwrap(),
        ..Configuration::default()
    };
    resolve(&pod, Some(&namespace), &configuration)
}

#[test]
fn what_is_built_in_is_what_the_table_says() {
    let settings = resolved(&[], &[], "").settings;
    for row in TABLE {
        let Some(default) = row.default else { continue };
        assert_eq!(
            settings.shown(row.key),
            Some((default.into(), Source::BuiltIn)),
            "{}",
            row.name
        );
    }
}

#[test]
fn the_pod_comes_before_its_namespace_and_that_before_the_installation() {
    let key = "drainhook.io/quiet";
    let file = "quiet: 4s";
    let quiet = |pod: &[(&str, &str)], namespace: &[(&str, &str)]| {
        resolved(pod, namespace, file).settings.quiet
    };
    assert_eq!(quiet(&[(key, "9s")], &[(key, "6s")]).source, Source::Pod);
    assert_eq!(quiet(&[], &[(key, "6s")]).source, Source::Namespace);
    assert_eq!(quiet(&[], &[]).source, Source::Installation);
    assert_eq!(quiet(&[], &[]).value, Duration::from_secs(4));
}

#[test]
fn a_bad_value_of_a_namespace_warns_and_falls_back() {
    let resolution = resolved(&[], &[("drainhook.io/quiet", "soon")], "quiet: 4s");
    assert_eq!(resolution.settings.quiet.source, Source::Installation);
    assert_eq!(resolution.faults, []);
    assert_eq!(resolution.warnings.len(), 1);
    assert!(resolution.warnings[0].starts_with("namespace shop: drainhook.io/quiet: \"soon\""));
}

#[test]
fn a_namespaces_unknown_key_is_only_a_warning() {
    let resolution = resolved(&[], &[("drainhook.io/quite", "4s")], "");
    assert_eq!(resolution.faults, []);
    assert!(resolution.warnings[0].contains("did you mean drainhook.io/quiet?"));
}

#[test]
fn a_pod_that_contradicts_itself_is_refused() {
    let resolution = resolved(&[("drainhook.io/min-drain", "6m")], &[], "");
    assert_eq!(resolution.faults.len(), 1);
    assert_eq!(resolution.faults[0].reason, RejectReason::Contradiction);
}

#[test]
fn a_namespace_that_contradicts_the_pod_gives_way() {
    let resolution = resolved(
        &[("drainhook.io/drain-timeout", "20s")],
        &[("drainhook.io/min-drain", "30s")],
        "",
    );
    assert_eq!(resolution.faults, []);
    assert_eq!(resolution.settings.min_drain.source, Source::BuiltIn);
    assert_eq!(resolution.settings.drain_timeout.source, Source::Pod);
    assert!(resolution.warnings[0].starts_with("defaults passed over"));
}

#[test]
fn an_installation_that_contradicts_the_pod_gives_way() {
    let pod = [("drainhook.io/drain-timeout", "20s")];
    let resolution = resolved(&pod, &[], "min-drain: 30s");
    assert_eq!(resolution.faults, []);
    assert_eq!(resolution.settings.min_drain.source, Source::BuiltIn);
}

#[test]
fn the_classic_loop_must_look_before_the_drain_is_over() {
    let pod = [
        ("drainhook.io/wait-for", "connections"),
        ("drainhook.io/drain-timeout", "60s"),
    ];
    assert_eq!(resolved(&pod, &[], "").faults.len(), 1);
}

#[test]
fn an_image_is_the_installations_choice() {
    let key = "drainhook.io/image";
    let pod = resolved(&[(key, "mine:1")], &[], "image: theirs:1");
    assert_eq!(pod.faults[0].reason, RejectReason::ImageNotAllowed);
    assert_eq!(pod.settings.image.value, "theirs:1");
    let namespace = resolved(&[], &[(key, "mine:1")], "image: theirs:1");
    assert_eq!(namespace.faults, []);
    assert_eq!(namespace.settings.image.value, "theirs:1");
    assert_eq!(namespace.warnings.len(), 1);
}

#[test]
fn the_grace_period_is_the_bound_and_a_reserve_in_whole_seconds() {
    let seconds = |text: &str| {
        resolved(&[("drainhook.io/drain-timeout", text)], &[], "")
            .settings
            .grace_period()
    };
    assert_eq!(seconds("300s"), 305);
    assert_eq!(seconds("10500ms"), 16);
}

#[test]
fn the_sidecar_is_told_what_differs_from_its_own_defaults() {
    let same = [
        ("drainhook.io/quiet", "2000ms"),
        ("drainhook.io/port", "8090"),
    ];
    let environment = resolved(&same, &[], "").settings.environment();
    assert_eq!(
        environment,
        [("SHUTDOWN_MANAGER_DRAIN_TIMEOUT", "300s".to_owned())]
    );
    let other = [("drainhook.io/quiet", "3s")];
    let environment = resolved(&other, &[], "").settings.environment();
    assert!(environment.contains(&("SHUTDOWN_MANAGER_QUIET", "3s".to_owned())));
}

#[test]
fn all_that_contradicts_is_told_at_once_and_defaults_give_way_where_they_are_the_reason() {
    let pod = [
        ("drainhook.io/min-drain", "300s"),
        ("drainhook.io/memory-request", "64Mi"),
        ("drainhook.io/cpu-limit", "1m"),
    ];
    let all = resolved(&pod, &[], "");
    assert_eq!(all.faults.len(), 3, "{:?}", all.faults);
    // The namespace's own are no fault of the pod's, and what is right of them stays.
    let namespace = [
        ("drainhook.io/drain-timeout", "2s"),
        ("drainhook.io/memory-limit", "16Mi"),
    ];
    let some = resolved(&pod[1..], &namespace, "");
    let faults: Vec<_> = some
        .faults
        .iter()
        .map(|fault| &fault.message[..3])
        .collect();
    assert_eq!(faults, ["cpu", "mem"]);
    assert_eq!(some.warnings.len(), 1, "{:?}", some.warnings);
    assert_eq!(some.settings.drain_timeout.source, Source::BuiltIn);
}

#[test]
fn what_is_said_for_the_other_way_to_wait_is_said_in_vain() {
    let of = |pod: &[(&str, &str)]| resolved(pod, &[], "check-delay: 9s").settings.in_vain();
    assert_eq!(of(&[]), [""; 0]);
    assert_eq!(
        of(&[
            ("drainhook.io/check-interval", "9s"),
            ("drainhook.io/quiet", "9s")
        ]),
        ["drainhook.io/check-interval"]
    );
    assert_eq!(
        of(&[
            ("drainhook.io/wait-for", "connections"),
            ("drainhook.io/check-interval", "9s"),
            ("drainhook.io/quiet", "9s"),
            ("drainhook.io/min-open-connections", "2"),
        ]),
        ["drainhook.io/quiet"]
    );
}

#[test]
fn requests_above_limits_are_refused() {
    let pod = [("drainhook.io/memory-request", "64Mi")];
    assert!(
        resolved(&pod, &[], "").faults[0]
            .message
            .contains("memory-limit 32Mi")
    );
}

#[test]
fn a_value_that_is_longer_than_any_list_is_refused_unread() {
    let faults = |length: usize| {
        let value = "x".repeat(length);
        let ours = PodAnnotations::of([("drainhook.io/exclude-listeners", &*value)].into_iter());
        let (faults, _) = ours.faults(UnknownKeys::Deny);
        faults.into_iter().map(|fault| fault.message).collect()
    };
    assert_eq!(faults(4096), Vec::<String>::new());
    for more in [1, 2] {
        let said: Vec<String> = faults(4096 + more);
        assert_eq!(
            said,
            ["drainhook.io/exclude-listeners: the value is longer than 4096 bytes"]
        );
    }
}

#[test]
fn only_the_defaults_that_contradict_give_way() {
    let resolution = resolved(
        &[("drainhook.io/drain-timeout", "20s")],
        &[("drainhook.io/min-drain", "30s")],
        "drain-delay: 1s",
    );
    assert_eq!(resolution.faults, []);
    let settings = resolution.settings;
    assert_eq!(settings.min_drain.source, Source::BuiltIn);
    assert_eq!(settings.drain_delay.source, Source::Installation);
}
