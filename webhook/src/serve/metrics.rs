//! What the server counts. Every label is of a closed set: no value that a user or a peer chose ever
//! becomes a label, or anybody could fill the memory of the server and of the one that scrapes it.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

/// All metrics of the server and the registry that writes them out.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) reviews: Family<ReviewLabels, Counter>,
    pub(super) seconds: Family<WebhookLabels, Histogram>,
    pub(super) in_flight: Gauge,
    pub(super) refused: Family<RefusalLabels, Counter>,
    pub(super) connections: Gauge,
    pub(super) connections_accepted: Counter,
    pub(super) connections_ended: Family<EndLabels, Counter>,
    pub(super) panics: Counter,
    pub(super) defaults_reloads: Family<ReloadLabels, Counter>,
    pub(super) namespace_watch_faults: Counter,
    /// Written anew for each scrape, from their sources.
    pub(super) at_scrape: AtScrape,
    registry: Registry,
}

/// Values that others keep; a scrape copies them.
#[derive(Debug, Default)]
pub(super) struct AtScrape {
    pub(super) bytes_held: Gauge,
    pub(super) bytes_held_max: Gauge,
    pub(super) certificate_expiry: Gauge,
    pub(super) certificate_reloads: Family<ReloadLabels, Gauge>,
    pub(super) certificate_faults: Family<FaultLabels, Gauge>,
    pub(super) client_authority_loads: Gauge,
    pub(super) namespaces_synced: Gauge,
    pub(super) ready: Gauge,
}

/// Which of the two endpoints.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Webhook {
    /// `/mutate`
    Mutate,
    /// `/warn`
    Warn,
}

/// What a review was answered with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Outcome {
    /// Allowed as it is.
    Allowed,
    /// Allowed, with a patch.
    Patched,
    /// Not allowed: something that the pod itself says is wrong.
    Denied,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReviewLabels {
    pub(super) webhook: Webhook,
    pub(super) outcome: Outcome,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct WebhookLabels {
    pub(super) webhook: Webhook,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RefusalLabels {
    pub(super) reason: &'static str,
    pub(super) code: u16,
}

/// Why a connection ended, or was never begun.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum End {
    /// By the peer, or after an answer that said `Connection: close`.
    Closed,
    /// Too many connections of this peer, and none of them to give up: refused.
    Refused,
    /// One of this peer's own newer connections took its place.
    Displaced,
    /// The TLS handshake failed.
    Handshake,
    /// A handshake, a request or silence took too long.
    Timeout,
    /// A protocol error or a broken connection.
    Broken,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct EndLabels {
    pub(super) reason: End,
}

/// What became of an attempt to reload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Reload {
    /// The new content is in use.
    Loaded,
    /// It was faulty: the last good one is still in use.
    Kept,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReloadLabels {
    pub(super) result: Reload,
}

/// What was wrong with a certificate, or kept it from being known: the words of
/// [`Fault::label`](drainhook_certs::Fault::label).
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct FaultLabels {
    pub(super) reason: &'static str,
}

/// Gives each variant the word that stands for it in labels and in the log.
macro_rules! words {
    ($($name:ident { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        impl $name {
            /// For labels and the log.
            pub(super) fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.word().encode(encoder)
            }
        }
    )+};
}

words! {
    Webhook { Mutate = "mutate", Warn = "warn" }
    Outcome { Allowed = "allowed", Patched = "patched", Denied = "denied" }
    End {
        Closed = "closed",
        Refused = "refused",
        Displaced = "displaced",
        Handshake = "handshake",
        Timeout = "timeout",
        Broken = "broken",
    }
    Reload { Loaded = "loaded", Kept = "kept" }
}

/// Seconds. Deciding takes tens of microseconds, and the API server waits for five seconds at most.
const LATENCY_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0,
    5.0,
];

impl Metrics {
    pub(super) fn new() -> Arc<Self> {
        let mut metrics = Self {
            reviews: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            in_flight: Gauge::default(),
            refused: Family::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_ended: Family::default(),
            panics: Counter::default(),
            defaults_reloads: Family::default(),
            namespace_watch_faults: Counter::default(),
            at_scrape: AtScrape::default(),
            registry: Registry::default(),
        };
        // They are there before anything happened: an alert on their increase would otherwise miss the
        // first event.
        for result in [Reload::Loaded, Reload::Kept] {
            drop(
                metrics
                    .defaults_reloads
                    .get_or_create(&ReloadLabels { result }),
            );
        }
        metrics.register();
        Arc::new(metrics)
    }

    /// The page of `/metrics`.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String does not fail; what there is of the page is still worth sending.
        if let Err(error) = encode(&mut page, &self.registry) {
            tracing::error!(%error, "cannot write all metrics");
        }
        page
    }

    fn register(&mut self) {
        let of = self.registry.sub_registry_with_prefix("drainhook");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        of.register("build", "The version that runs", Info::new(version));
        let admission = of.sub_registry_with_prefix("admission");
        admission.register(
            "reviews",
            "Admission reviews answered, by what was decided and why",
            self.reviews.clone(),
        );
        admission.register_with_unit(
            "duration",
            "From the first byte of a review's body to its answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        admission.register(
            "in_flight",
            "Requests being read or answered",
            self.in_flight.clone(),
        );
        admission.register(
            "refused",
            "Requests answered with an HTTP status other than 200",
            self.refused.clone(),
        );
        admission.register_with_unit(
            "held",
            "Memory reserved for bodies and what is parsed of them",
            Unit::Bytes,
            self.at_scrape.bytes_held.clone(),
        );
        admission.register_with_unit(
            "held_max",
            "The most that was ever reserved at once",
            Unit::Bytes,
            self.at_scrape.bytes_held_max.clone(),
        );
        admission.register(
            "panics",
            "Panics contained: each is a defect",
            self.panics.clone(),
        );
        of.register("connections", "Open connections", self.connections.clone());
        of.register(
            "connections_accepted",
            "Connections accepted",
            self.connections_accepted.clone(),
        );
        of.register(
            "connections_ended",
            "Connections ended or refused, by the reason",
            self.connections_ended.clone(),
        );
        of.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate in use expires, as Unix time",
            Unit::Seconds,
            self.at_scrape.certificate_expiry.clone(),
        );
        of.register(
            "certificate_reloads",
            "Certificates loaded, and faulty ones passed over, since the start",
            self.at_scrape.certificate_reloads.clone(),
        );
        of.register(
            "certificate_faults",
            "How often each fault of certificates arose since the start, those of the way to them included",
            self.at_scrape.certificate_faults.clone(),
        );
        of.register(
            "client_authority_loads",
            "How often the CA of clients began to be used, the first time included",
            self.at_scrape.client_authority_loads.clone(),
        );
        of.register(
            "defaults_reloads",
            "Changes of the installation's defaults",
            self.defaults_reloads.clone(),
        );
        of.register(
            "namespaces_synced",
            "1 while the watch of the namespaces is up to date",
            self.at_scrape.namespaces_synced.clone(),
        );
        of.register(
            "namespace_watch_faults",
            "Interruptions of the watch of the namespaces",
            self.namespace_watch_faults.clone(),
        );
        of.register(
            "ready",
            "1 while /readyz says so",
            self.at_scrape.ready.clone(),
        );
    }
}
