//! What the ResourceQuotas and LimitRanges of a namespace ask of the sidecar.
//!
//! The API server refuses a whole pod for one container that does not meet them, in words that know
//! nothing of the annotations by which it would. The webhook has no right to read them and needs
//! none; they are told to `check`, among manifests or from a cluster.
//!
//! The rules are those of the admission plugins LimitRanger and ResourceQuota. LimitRanger is asked
//! again after the webhooks, so that its defaults count for the sidecar as well.

mod fitting;
mod read;

use serde_json::Value;

use crate::annotations::Key;
use crate::existing::{self, Named};
use crate::pod::Pod;
use crate::quantity::Quantity;
use fitting::Wanted;

/// The quotas and ranges of one namespace, as far as a container has to meet them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    quotas: Vec<Quota>,
    ranges: Vec<Range>,
}

/// A ResourceQuota: what every container must have for it to be counted.
#[derive(Clone, Debug)]
struct Quota {
    name: String,
    required: Vec<(Resource, Bound)>,
    scopes: Vec<Scope>,
}

/// A LimitRange: what stands in it for containers, about one resource.
#[derive(Clone, Debug)]
struct Range {
    name: String,
    resource: Resource,
    default_request: Option<Quantity>,
    default_limit: Option<Quantity>,
    min: Option<Quantity>,
    max: Option<Quantity>,
    /// How many times its request a limit may be.
    ratio: Option<Quantity>,
}

/// Which pods a quota is about, as far as that changes which of them it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Those with `activeDeadlineSeconds`.
    Terminating,
    /// Those without.
    NotTerminating,
    /// Those that ask for nothing, which a pod with the sidecar never is.
    BestEffort,
    /// Those that are chosen by what is not read here, like a priority class: a quota of which nobody
    /// can tell whether it counts is no reason for a fault.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Cpu,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Request,
    Limit,
}

/// What a container asks for of one resource, and may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Amounts {
    request: Option<Quantity>,
    limit: Option<Quantity>,
}

impl Limits {
    /// Of a namespace that has none.
    pub(crate) const NONE: Self = Self {
        quotas: Vec::new(),
        ranges: Vec::new(),
    };

    /// The kinds of objects that they are read from, all of `v1`.
    pub(crate) const KINDS: [&'static str; 2] = ["LimitRange", "ResourceQuota"];

    /// Whether they ask for nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.quotas.is_empty() && self.ranges.is_empty()
    }

    /// Reads ResourceQuotas and LimitRanges; what is neither, or cannot be read, asks for nothing.
    pub(crate) fn of<'v>(objects: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut limits = Self::default();
        for object in objects {
            match object["kind"].as_str() {
                Some("ResourceQuota") => limits.quotas.extend(Quota::read(object)),
                Some("LimitRange") => limits.ranges.extend(Range::read_all(object)),
                _ => {}
            }
        }
        limits
    }

    /// Why the API server would refuse a pod because of the sidecar that is in it, with the
    /// annotations to write: a sentence for each resource.
    pub(crate) fn faults(&self, pod: &Value) -> Vec<String> {
        let terminating = !pod["spec"]["activeDeadlineSeconds"].is_null();
        let Ok(pod) = Pod::read(pod) else {
            return Vec::new();
        };
        let Some(Named::Ours(sidecar)) = existing::find(&pod) else {
            return Vec::new();
        };
        // What the pod has as a whole is its author's, and the sidecar counts inside of it.
        if pod.has_resources {
            return Vec::new();
        }
        let faults = Resource::ALL.into_iter().filter_map(|resource| {
            let amount = |section| sidecar.container.resource(section, resource.name());
            let own = Amounts {
                request: amount("requests"),
                limit: amount("limits"),
            };
            self.fault(resource, own, terminating)
        });
        faults.collect()
    }

    fn fault(&self, resource: Resource, own: Amounts, terminating: bool) -> Option<String> {
        let said = self.broken(
            resource,
            &self.defaulted(resource, own.clone()),
            terminating,
        );
        if said.is_empty() {
            return None;
        }
        let written: Vec<String> = self
            .fitting(resource, &own, terminating)
            .map(|amounts| Wanted::instead_of(&own, amounts).annotations(resource))
            .unwrap_or_default();
        let way_out = if written.is_empty() {
            "no value meets all of it".to_owned()
        } else {
            format!(
                "write {}, on the pod or on its namespace",
                written.join(" and ")
            )
        };
        Some(format!(
            "the API server would refuse the pod for its sidecar, because {}: {way_out}",
            said.join(" and ")
        ))
    }

    /// What LimitRanger makes of a container before it looks at it.
    fn defaulted(&self, resource: Resource, mut amounts: Amounts) -> Amounts {
        for range in self.ranges(resource) {
            amounts.limit = amounts.limit.or_else(|| range.default_limit.clone());
            amounts.request = amounts.request.or_else(|| range.default_request.clone());
        }
        amounts
    }

    /// What amounts do not meet, in words.
    fn broken(&self, resource: Resource, amounts: &Amounts, terminating: bool) -> Vec<String> {
        let mut said = Vec::new();
        let quotas = self.quotas.iter();
        for quota in quotas.filter(|quota| quota.is_about(terminating)) {
            let required = quota.required.iter();
            for (_, bound) in required.filter(|(about, _)| *about == resource) {
                if amounts.of(*bound).is_none() {
                    said.push(format!(
                        "ResourceQuota {} counts {}.{} and it has none",
                        quota.name,
                        bound.section(),
                        resource.name()
                    ));
                }
            }
        }
        for range in self.ranges(resource) {
            said.extend(range.broken(amounts));
        }
        if let Amounts {
            request: Some(request),
            limit: Some(limit),
        } = amounts
            && request.exceeds(limit)
        {
            said.push(format!(
                "it asks for {request} {} and the default of a LimitRange limits it to {limit}",
                resource.name()
            ));
        }
        said
    }

    fn ranges(&self, resource: Resource) -> impl Iterator<Item = &Range> {
        self.ranges
            .iter()
            .filter(move |range| range.resource == resource)
    }
}

impl Quota {
    fn is_about(&self, terminating: bool) -> bool {
        self.scopes.iter().all(|scope| match scope {
            Scope::Terminating => terminating,
            Scope::NotTerminating => !terminating,
            Scope::BestEffort | Scope::Other => false,
        })
    }
}

impl Range {
    fn broken(&self, amounts: &Amounts) -> Vec<String> {
        let (name, resource) = (&self.name, self.resource.name());
        let parts = [
            (amounts.request.as_ref(), "asks for"),
            (amounts.limit.as_ref(), "is limited to"),
        ];
        let mut said = Vec::new();
        for (amount, words) in parts {
            let Some(amount) = amount else { continue };
            if let Some(min) = self.min.as_ref().filter(|min| min.exceeds(amount)) {
                said.push(format!(
                    "LimitRange {name} has a minimum of {min} {resource} and it {words} {amount}"
                ));
            }
            if let Some(max) = self.max.as_ref().filter(|max| amount.exceeds(max)) {
                said.push(format!(
                    "LimitRange {name} has a maximum of {max} {resource} and it {words} {amount}"
                ));
            }
        }
        if let Some(ratio) = &self.ratio {
            match (&amounts.request, &amounts.limit) {
                (Some(request), Some(limit)) if limit.exceeds_times(ratio, request) => {
                    said.push(format!(
                        "LimitRange {name} lets a limit of {resource} be {ratio} times its request \
                         and it asks for {request} and is limited to {limit}"
                    ));
                }
                (Some(_), Some(_)) => {}
                // A ratio is met by nobody who leaves one of them out.
                (request, _) => {
                    let missing = if request.is_none() {
                        "request"
                    } else {
                        "limit"
                    };
                    said.push(format!(
                        "LimitRange {name} lets a limit of {resource} be {ratio} times its request \
                         and it has no {missing}"
                    ));
                }
            }
        }
        said
    }
}

impl Amounts {
    fn of(&self, bound: Bound) -> Option<&Quantity> {
        match bound {
            Bound::Request => self.request.as_ref(),
            Bound::Limit => self.limit.as_ref(),
        }
    }
}

impl Resource {
    const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// The annotation for it.
    fn key(self, bound: Bound) -> Key {
        match (self, bound) {
            (Self::Cpu, Bound::Request) => Key::CpuRequest,
            (Self::Cpu, Bound::Limit) => Key::CpuLimit,
            (Self::Memory, Bound::Request) => Key::MemoryRequest,
            (Self::Memory, Bound::Limit) => Key::MemoryLimit,
        }
    }
}

impl Bound {
    /// Where it stands in a container's `resources`.
    fn section(self) -> &'static str {
        match self {
            Self::Request => "requests",
            Self::Limit => "limits",
        }
    }
}

#[cfg(test)]
mod tests;
