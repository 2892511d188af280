//! What the publisher counts, as `/metrics` has it. Every label is of a closed set.

use std::time::{SystemTime, UNIX_EPOCH};

use drainhook_certs::{
    PublisherFacts,
    rotation::{Event, Phase},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EventLabels {
    event: &'static str,
}

/// The page of `/metrics`, made anew for each scrape: a handful of numbers.
pub(super) fn page(facts: &PublisherFacts) -> String {
    let mut registry = Registry::default();
    let of = registry.sub_registry_with_prefix("drainhook");
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    of.register("build", "The version that runs", Info::new(version));
    let of = of.sub_registry_with_prefix("publisher");
    let phases = Family::<PhaseLabels, Gauge>::default();
    for phase in Phase::ALL {
        let labels = PhaseLabels {
            phase: phase.label(),
        };
        let here = facts.phase == Some(phase);
        phases.get_or_create(&labels).set(i64::from(here));
    }
    of.register(
        "phase",
        "1 for the phase of the rotation, 0 for the others",
        phases,
    );
    let gauge = |value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        gauge
    };
    of.register_with_unit(
        "phase_since_timestamp",
        "When the phase began, as Unix time",
        Unit::Seconds,
        gauge(facts.since.map_or(0, unix)),
    );
    of.register_with_unit(
        "authority_expiry_timestamp",
        "When the CA that signs expires, as Unix time",
        Unit::Seconds,
        gauge(
            facts
                .authority
                .map_or(0, |validity| unix(validity.not_after)),
        ),
    );
    of.register(
        "authorities",
        "CAs that are trusted now",
        gauge(signed(facts.trusted)),
    );
    of.register(
        "bundles_right",
        "1 where every caBundle was right at the last look",
        gauge(i64::from(facts.right)),
    );
    of.register(
        "configurations_missing",
        "Webhook configurations that do not exist",
        gauge(signed(facts.missing.len())),
    );
    of.register(
        "secret_untied",
        "1 where the Secret could not be tied to the registration: an uninstallation leaves it behind",
        gauge(i64::from(facts.untied.is_some())),
    );
    let events = Family::<EventLabels, Counter>::default();
    for event in Event::ALL {
        let count = facts.events.get(&event).copied().unwrap_or_default();
        events
            .get_or_create(&EventLabels {
                event: event.label(),
            })
            .inc_by(count);
    }
    of.register(
        "events",
        "Steps of the rotation, and what was mended",
        events,
    );
    let counter = |value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        counter
    };
    of.register(
        "configuration_writes",
        "Webhook configurations written",
        counter(facts.configuration_writes),
    );
    of.register(
        "secret_writes",
        "Writes of the Secret",
        counter(facts.secret_writes),
    );
    of.register(
        "conflicts",
        "Writes that came too late because another publisher was first",
        counter(facts.conflicts),
    );
    of.register(
        "failures",
        "Rounds that failed and were tried again",
        counter(facts.failures),
    );

    let mut page = String::new();
    // Writing to a String does not fail; what there is of the page is still worth sending.
    if let Err(error) = encode(&mut page, &registry) {
        tracing::error!(%error, "cannot write all metrics");
    }
    page
}

fn unix(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_number_and_every_label_is_on_the_page_from_the_start() {
        let facts = PublisherFacts {
            phase: Some(Phase::Published),
            events: BTreeMap::from([(Event::RepairedBundle, 3)]),
            conflicts: 2,
            right: true,
            trusted: 2,
            untied: Some("forbidden".to_owned()),
            ..PublisherFacts::default()
        };
        let page = page(&facts);
        for line in [
            "drainhook_publisher_phase{phase=\"published\"} 1",
            "drainhook_publisher_phase{phase=\"steady\"} 0",
            "drainhook_publisher_events_total{event=\"repaired_bundle\"} 3",
            "drainhook_publisher_events_total{event=\"founded\"} 0",
            "drainhook_publisher_conflicts_total 2",
            "drainhook_publisher_bundles_right 1",
            "drainhook_publisher_authorities 2",
            "drainhook_publisher_secret_untied 1",
            "drainhook_publisher_authority_expiry_timestamp_seconds 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }
}
