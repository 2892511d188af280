//! What the sidecar asks for and may use.

use serde_json::{Map, Value, json};

use crate::pod::Pod;
use crate::quantity::Quantity;
use crate::settings::{Settings, Source};

/// In a pod of the Guaranteed class the limit is the request; so little that nobody minds, and
/// enough that the drain's polls are not slowed.
const GUARANTEED_CPU: u32 = 50;

/// The container's `resources`; none where the pod as a whole has some.
pub(super) fn resources(pod: &Pod<'_>, settings: &Settings) -> Option<Value> {
    if pod.has_resources {
        return own_wishes(settings);
    }
    if is_guaranteed(pod) {
        return Some(guaranteed(settings));
    }
    let limit = |limit: &Quantity| limit.to_string();
    Some(section(
        Some(settings.cpu_request.value.to_string()),
        Some(settings.memory_request.value.to_string()),
        settings.cpu_limit.as_ref().map(|cpu| limit(&cpu.value)),
        Some(limit(&settings.memory_limit.value)),
    ))
}

/// With resources of the pod as a whole, a container's count inside of them: only what the pod's
/// author wrote is set.
fn own_wishes(settings: &Settings) -> Option<Value> {
    let wish =
        |source: Source, quantity: &Quantity| (source == Source::Pod).then(|| quantity.to_string());
    let cpu_limit = settings.cpu_limit.as_ref();
    let parts = [
        wish(settings.cpu_request.source, &settings.cpu_request.value),
        wish(
            settings.memory_request.source,
            &settings.memory_request.value,
        ),
        cpu_limit.and_then(|limit| wish(limit.source, &limit.value)),
        wish(settings.memory_limit.source, &settings.memory_limit.value),
    ];
    let any = parts.iter().any(Option::is_some);
    let [cpu_request, memory_request, cpu_limit, memory_limit] = parts;
    any.then(|| section(cpu_request, memory_request, cpu_limit, memory_limit))
}

/// Limits that equal the requests, or Envoy would lose its class.
fn guaranteed(settings: &Settings) -> Value {
    let cpu = match (&settings.cpu_limit, settings.cpu_request.source) {
        (Some(limit), _) => limit.value.to_string(),
        (None, Source::BuiltIn) => Quantity::millis(GUARANTEED_CPU).to_string(),
        (None, _) => settings.cpu_request.value.to_string(),
    };
    let memory = settings.memory_limit.value.to_string();
    section(
        Some(cpu.clone()),
        Some(memory.clone()),
        Some(cpu),
        Some(memory),
    )
}

fn section(
    cpu_request: Option<String>,
    memory_request: Option<String>,
    cpu_limit: Option<String>,
    memory_limit: Option<String>,
) -> Value {
    let bounds = |cpu: Option<String>, memory: Option<String>| {
        let mut bounds = Map::new();
        bounds.extend(cpu.map(|cpu| ("cpu".to_owned(), json!(cpu))));
        bounds.extend(memory.map(|memory| ("memory".to_owned(), json!(memory))));
        bounds
    };
    let mut section = Map::new();
    for (key, bounds) in [
        ("requests", bounds(cpu_request, memory_request)),
        ("limits", bounds(cpu_limit, memory_limit)),
    ] {
        if !bounds.is_empty() {
            section.insert(key.to_owned(), Value::Object(bounds));
        }
    }
    Value::Object(section)
}

/// Whether the pod is of the Guaranteed class: every container, init containers too, has limits of
/// CPU and memory, and requests that equal them or are left out.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
fn is_guaranteed(pod: &Pod<'_>) -> bool {
    pod.containers
        .iter()
        .filter(|container| container.name != super::NAME)
        .all(|container| {
            ["cpu", "memory"].iter().all(|name| {
                let Some(limit) = container.resource("limits", name) else {
                    return false;
                };
                let request = container.resource("requests", name);
                limit.is_positive() && request.is_none_or(|request| request.equals(&limit))
            })
        })
}
