//! Metrics. All labels are from closed sets: the Envoys of the configuration, and words of our own.

use std::sync::{Arc, atomic::AtomicI64};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::drain::{Outcome, Question, Reason};

type Labels<const N: usize> = [(&'static str, String); N];

/// Drains take from a floor of seconds to a bound of minutes.
const SECONDS: [f64; 10] = [1.0, 2.0, 5.0, 8.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0];

/// The metrics of this process; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    started: Family<Labels<1>, Counter>,
    ended: Family<Labels<2>, Counter>,
    active: Family<Labels<1>, Gauge<i64, AtomicI64>>,
    seconds: Histogram,
    calls: Family<Labels<2>, Counter>,
    refused: Counter,
}

impl Metrics {
    pub(crate) fn new(envoys: &[String]) -> Self {
        let mut registry = Registry::with_prefix("shutdown_manager");
        let metrics = Self {
            started: Family::default(),
            ended: Family::default(),
            active: Family::default(),
            seconds: Histogram::new(SECONDS),
            calls: Family::default(),
            refused: Counter::default(),
            registry: Arc::new(Registry::default()),
        };
        registry.register(
            "drain_started",
            "Drains that began",
            metrics.started.clone(),
        );
        registry.register(
            "drain_ended",
            "Drains that are over, by reason",
            metrics.ended.clone(),
        );
        registry.register(
            "drain_active",
            "Drains that run now",
            metrics.active.clone(),
        );
        registry.register_with_unit(
            "drain_duration",
            "Time from the hook to the end of a drain",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "polls",
            "Calls to Envoy's admin interface by result",
            metrics.calls.clone(),
        );
        registry.register(
            "unauthorized",
            "Calls of /shutdown and /wait without the right token",
            metrics.refused.clone(),
        );
        // All series are there from the beginning, so that the first increase is seen.
        for envoy in envoys {
            let _ = metrics.started.get_or_create(&[("envoy", envoy.clone())]);
            let _ = metrics.active.get_or_create(&[("envoy", envoy.clone())]);
            for reason in Reason::ALL {
                let _ = metrics.ended.get_or_create(&ended(envoy, reason));
            }
        }
        Self {
            registry: Arc::new(registry),
            ..metrics
        }
    }

    pub(crate) fn started(&self, envoy: &str) {
        self.started
            .get_or_create(&[("envoy", envoy.to_owned())])
            .inc();
        self.active
            .get_or_create(&[("envoy", envoy.to_owned())])
            .inc();
    }

    pub(crate) fn ended(&self, envoy: &str, outcome: &Outcome) {
        self.ended
            .get_or_create(&ended(envoy, outcome.reason))
            .inc();
        self.active
            .get_or_create(&[("envoy", envoy.to_owned())])
            .dec();
        self.seconds.observe(outcome.after.as_secs_f64());
    }

    pub(crate) fn called(&self, question: Question, error: Option<&'static str>) {
        let result = error.unwrap_or("ok").to_owned();
        self.calls
            .get_or_create(&[("call", question.as_str().to_owned()), ("result", result)])
            .inc();
    }

    /// Somebody was refused. Returns whether that is worth a line: the first time, the tenth, the
    /// hundredth, so that a stranger cannot fill the log.
    pub(crate) fn refused(&self) -> bool {
        let mut count = self.refused.inc() + 1;
        while count.is_multiple_of(10) {
            count /= 10;
        }
        count == 1
    }

    /// All of it in the OpenMetrics text form.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; what there is then is still valid up to the fault.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn ended(envoy: &str, reason: Reason) -> Labels<2> {
    [
        ("envoy", envoy.to_owned()),
        ("reason", reason.as_str().to_owned()),
    ]
}
