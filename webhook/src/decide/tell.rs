//! What a person should know about an injection that goes ahead.

use std::time::Duration;

use super::Case;
use crate::annotations::Key;
use crate::envoy::Envoy;
use crate::foreign;
use crate::message::quoted;
use crate::pod::Container;
use crate::settings::{Source, Sourced};
use crate::value::{DrainListeners, WaitFor, duration_text};

/// Envoy's own `--drain-time-s` where its command line has none.
const USUAL_DRAIN_TIME: u64 = 600;

/// Tells it.
pub(super) fn tell(case: &mut Case<'_>, envoys: &[Envoy<'_>]) {
    let (pod, settings) = (case.pod, case.settings);
    let needed = settings.grace_period();
    if let Some(old) = pod.grace.filter(|old| *old < needed) {
        case.note(format!(
            "terminationGracePeriodSeconds is raised from {old} to {needed}: drain-timeout {} and \
             5 s; set drainhook.io/drain-timeout for less",
            duration_text(settings.drain_timeout.value)
        ));
    }
    let on_host = |container: &Container<'_>| container.ports.iter().any(|port| port.on_host);
    let exposed = pod.host_network || envoys.iter().any(|envoy| on_host(envoy.container));
    if exposed && settings.min_drain.source == Source::BuiltIn {
        case.warn(format!(
            "Envoy is reached through the node: behind a cloud load balancer set {} to its \
             deregistration time, {} may be too short",
            Key::MinDrain.full(),
            duration_text(settings.min_drain.value)
        ));
    }
    tell_of_settings(case);
    tell_of_meshes(case);
    for envoy in envoys {
        let drain_time = envoy.arguments.drain_time.unwrap_or(USUAL_DRAIN_TIME);
        let told = settings.drain_listeners.value == DrainListeners::Always;
        if told && Duration::from_secs(drain_time) < settings.drain_timeout.value {
            case.warn(format!(
                "Envoy {} closes websockets in the last third of its --drain-time-s {drain_time}, \
                 which is shorter than drain-timeout: make it longer",
                quoted(envoy.container.name)
            ));
        }
    }
}

/// Settings that do less than whoever wrote them may think.
fn tell_of_settings(case: &mut Case<'_>) {
    let settings = case.settings;
    let in_vain = settings.in_vain();
    if !in_vain.is_empty() {
        let has = if in_vain.len() == 1 { "has" } else { "have" };
        case.warn(format!(
            "{} {has} no effect with {}: \"{}\"",
            in_vain.join(", "),
            Key::WaitFor.full(),
            settings.wait_for.value.as_str()
        ));
    }
    let bound = settings.drain_timeout.value;
    let longer = |wanted: &&Sourced<Duration>| wanted.value > bound && wanted.source == Source::Pod;
    let quiet = settings.wait_for.value == WaitFor::Quiet;
    if let Some(wanted) = settings.upgrade_timeout.as_ref().filter(longer)
        && quiet
    {
        case.warn(format!(
            "{} {} is longer than drain-timeout {}, which ends the drain before: make drain-timeout \
             longer",
            Key::UpgradeTimeout.full(),
            duration_text(wanted.value),
            duration_text(bound)
        ));
    }
}

/// A mesh's proxy takes over the pod's ports; the kubelet's calls must pass it by.
fn tell_of_meshes(case: &mut Case<'_>) {
    let port = case.settings.port.value;
    if case.pod.host_network {
        return;
    }
    for container in case.pod.running() {
        let Some(foreign) = foreign::of_container(container) else {
            continue;
        };
        let Some(key) = foreign.pass_annotation() else {
            continue;
        };
        let listed = case.metadata.annotation(key).unwrap_or_default();
        if names_port(listed, port) {
            continue;
        }
        let way_out = if listed.trim().is_empty() {
            format!("{key}: \"{port}\"")
        } else {
            format!("add {port} to {key}")
        };
        case.warn(format!(
            "{}'s proxy {} is not ours and drains by itself; let the kubelet reach the sidecar \
             past it: {way_out}",
            foreign.product(),
            quoted(container.name),
        ));
    }
}

/// Whether a list of ports and ranges of ports, as `25,8000-8090`, has this one.
fn names_port(listed: &str, port: u16) -> bool {
    listed.split(',').any(|item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let number = |text: &str| text.trim().parse::<u16>().ok();
        number(first).is_some_and(|first| first <= port)
            && number(last).is_some_and(|last| port <= last)
    })
}
