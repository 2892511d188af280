//! Amounts that meet what is asked, as near as can be to those that do not.

use super::{Amounts, Bound, Limits, Resource};
use crate::quantity::Quantity;

/// CPU that slows the drain's polls no more than they bear, where a limit has to be.
const CPU_LIMIT: u32 = 50;

/// As the sidecar has it where nobody says otherwise.
const MEMORY_LIMIT: u32 = 32;

/// What has to be written.
pub(super) struct Wanted(Vec<(Bound, Quantity)>);

impl Wanted {
    /// What differs from what the sidecar has.
    pub(super) fn instead_of(own: &Amounts, amounts: Amounts) -> Self {
        let parts = [
            (Bound::Request, &own.request, amounts.request),
            (Bound::Limit, &own.limit, amounts.limit),
        ];
        let differing = parts.into_iter().filter_map(|(bound, own, wanted)| {
            let wanted = wanted?;
            let same = own.as_ref().is_some_and(|own| own.equals(&wanted));
            (!same).then_some((bound, wanted))
        });
        Self(differing.collect())
    }

    pub(super) fn annotations(&self, resource: Resource) -> Vec<String> {
        let line = |(bound, quantity): &(Bound, Quantity)| {
            format!("{}: \"{quantity}\"", resource.key(*bound).full())
        };
        self.0.iter().map(line).collect()
    }
}

impl Limits {
    /// Amounts that meet everything; nothing where it cannot all be met.
    pub(super) fn fitting(
        &self,
        resource: Resource,
        own: &Amounts,
        terminating: bool,
    ) -> Option<Amounts> {
        let lowest = self.ranges(resource).filter_map(|range| range.min.clone());
        let lowest = lowest.reduce(greater);
        let highest = self.ranges(resource).filter_map(|range| range.max.clone());
        let highest = highest.reduce(less);
        let ratios = self
            .ranges(resource)
            .filter_map(|range| range.ratio.clone());
        let ratio = ratios.reduce(less);
        let within = |amount: Quantity| {
            let amount = lowest.iter().cloned().fold(amount, greater);
            highest.iter().cloned().fold(amount, less)
        };
        let request = within(own.request.clone().unwrap_or_else(|| resource.usual()));
        let limit = greater(
            within(own.limit.clone().unwrap_or_else(|| resource.usual())),
            request.clone(),
        );
        let request = match &ratio {
            Some(ratio) if limit.exceeds_times(ratio, &request) => {
                resource.whole(limit.part(ratio, &resource.unit())?)
            }
            _ => request,
        };
        let mut amounts = Amounts {
            request: Some(request),
            limit: own.limit.clone(),
        };
        // Without need none: where there is one already, or where it is missed.
        if own.limit.is_some() || !self.meets(resource, &amounts, terminating) {
            amounts.limit = Some(limit);
        }
        self.meets(resource, &amounts, terminating)
            .then_some(amounts)
    }

    fn meets(&self, resource: Resource, amounts: &Amounts, terminating: bool) -> bool {
        let amounts = self.defaulted(resource, amounts.clone());
        self.broken(resource, &amounts, terminating).is_empty()
    }
}

impl Resource {
    fn usual(self) -> Quantity {
        match self {
            Self::Cpu => self.whole(CPU_LIMIT),
            Self::Memory => self.whole(MEMORY_LIMIT),
        }
    }

    /// In what it is written.
    fn unit(self) -> Quantity {
        self.whole(1)
    }

    fn whole(self, count: u32) -> Quantity {
        match self {
            Self::Cpu => Quantity::millis(count),
            Self::Memory => Quantity::mebibytes(count),
        }
    }
}

fn greater(one: Quantity, other: Quantity) -> Quantity {
    if other.exceeds(&one) { other } else { one }
}

fn less(one: Quantity, other: Quantity) -> Quantity {
    if one.exceeds(&other) { other } else { one }
}
