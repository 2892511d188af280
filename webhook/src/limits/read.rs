//! From the objects to what is asked of a container.

use serde_json::Value;

use super::{Bound, Quota, Range, Resource, Scope};
use crate::quantity::Quantity;

impl Quota {
    /// Nothing where it counts neither CPU nor memory.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let hard = object["spec"]["hard"].as_object()?;
        let required: Vec<_> = hard.keys().filter_map(|key| counted(key)).collect();
        let simple = object["spec"]["scopes"].as_array().into_iter().flatten();
        let selected = object["spec"]["scopeSelector"]["matchExpressions"].as_array();
        let selected = selected
            .into_iter()
            .flatten()
            .map(|expression| &expression["scopeName"]);
        let scopes = simple.chain(selected).filter_map(scope).collect();
        (!required.is_empty()).then(|| Self {
            name: name(object),
            required,
            scopes,
        })
    }
}

impl Range {
    /// One for each resource of each item about containers.
    pub(super) fn read_all(object: &Value) -> Vec<Self> {
        let items = object["spec"]["limits"].as_array().into_iter().flatten();
        let containers = items.filter(|item| item["type"] == "Container");
        let of = |item, resource| Self::read(object, item, resource);
        containers
            .flat_map(|item| Resource::ALL.map(|resource| of(item, resource)))
            .collect()
    }

    fn read(object: &Value, item: &Value, resource: Resource) -> Self {
        let said = |key: &str| quantity(&item[key][resource.name()]);
        let (min, max) = (said("min"), said("max"));
        // As the API server fills in what is left out, when it stores the object.
        let default_limit = said("default").or_else(|| max.clone());
        let default_request = said("defaultRequest")
            .or_else(|| default_limit.clone())
            .or_else(|| min.clone());
        Self {
            name: name(object),
            resource,
            default_request,
            default_limit,
            min,
            max,
            ratio: said("maxLimitRequestRatio"),
        }
    }
}

/// What a key of a quota counts, where every container must say how much that is.
fn counted(key: &str) -> Option<(Resource, Bound)> {
    match key {
        "cpu" | "requests.cpu" => Some((Resource::Cpu, Bound::Request)),
        "memory" | "requests.memory" => Some((Resource::Memory, Bound::Request)),
        "limits.cpu" => Some((Resource::Cpu, Bound::Limit)),
        "limits.memory" => Some((Resource::Memory, Bound::Limit)),
        _ => None,
    }
}

/// Nothing where it is about every pod with a sidecar.
fn scope(name: &Value) -> Option<Scope> {
    match name.as_str()? {
        "Terminating" => Some(Scope::Terminating),
        "NotTerminating" => Some(Scope::NotTerminating),
        "BestEffort" => Some(Scope::BestEffort),
        "NotBestEffort" => None,
        _ => Some(Scope::Other),
    }
}

fn name(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    crate::message::quoted(name)
}

/// YAML takes `cpu: 1` for a number, as Kubernetes does.
fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}
