//! Port 8080: `/livez`, `/readyz`, `/metrics`. Plain HTTP, for the kubelet and for Prometheus; nothing
//! here is secret and nothing can be changed.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use drainhook_certs::{Fault, Status};

use super::{
    api::Api,
    cluster::Cluster,
    defaults::DefaultsFile,
    metrics::{FaultLabels, Metrics, Reload, ReloadLabels},
    stop::{Stage, Stopping},
};

/// What decides whether the server is ready, and what else there is to tell.
pub(super) struct Health {
    pub(super) certificates: Status,
    pub(super) cluster: Arc<Cluster>,
    pub(super) defaults: Option<Arc<DefaultsFile>>,
    pub(super) stopping: Stopping,
    pub(super) api: Arc<Api>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) began: Instant,
}

/// One line of `/readyz?verbose`.
struct Check {
    name: &'static str,
    ready: bool,
    detail: String,
}

/// How long the first list of the namespaces is waited for. After that the server is ready without
/// it: an Envoy with the installation's defaults is better off than one without a drain. Nothing that
/// happens to the API afterwards makes it not ready, or a short outage there would take out all
/// replicas at once.
const NAMESPACES_PATIENCE: Duration = Duration::from_secs(10);

impl Health {
    /// The paths of port 8080.
    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    fn checks(&self) -> [Check; 4] {
        let serving = self.stopping.stage() == Stage::Serving;
        let facts = self.certificates.facts();
        let defaults = self.defaults.as_ref().map(|file| file.state().fault);
        [
            Check {
                name: "serving",
                ready: serving,
                detail: if serving { "yes" } else { "asked to end" }.to_owned(),
            },
            Check {
                name: "certificate",
                ready: facts.ready,
                detail: facts.detail(),
            },
            Check {
                name: "namespaces",
                ready: self.cluster.synced() || self.began.elapsed() > NAMESPACES_PATIENCE,
                detail: self.cluster.detail(),
            },
            Check {
                name: "defaults",
                // The last good ones are as good as they were.
                ready: true,
                detail: match defaults {
                    None => "none: what is built in".to_owned(),
                    Some(None) => "loaded".to_owned(),
                    Some(Some(fault)) => format!("the last good ones: {fault}"),
                },
            },
        ]
    }

    fn fill_in(&self) {
        let at_scrape = &self.metrics.at_scrape;
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        at_scrape.bytes_held.set(signed(self.api.bytes().held()));
        at_scrape
            .bytes_held_max
            .set(signed(self.api.bytes().most_ever_held()));
        at_scrape
            .ready
            .set(i64::from(self.checks().iter().all(|check| check.ready)));
        at_scrape
            .namespaces_synced
            .set(i64::from(self.cluster.up_to_date()));
        let facts = self.certificates.facts();
        let expiry = facts
            .served
            .and_then(|served| served.not_after.duration_since(UNIX_EPOCH).ok());
        at_scrape
            .certificate_expiry
            .set(signed(expiry.map_or(0, |expiry| expiry.as_secs())));
        let reloads = |result| {
            at_scrape
                .certificate_reloads
                .get_or_create(&ReloadLabels { result })
        };
        reloads(Reload::Loaded).set(signed(facts.loads));
        let count = |fault: &Fault| facts.faults.get(fault).copied().unwrap_or_default();
        let passed_over = Fault::ALL.iter().filter(|fault| fault.is_of_content());
        reloads(Reload::Kept).set(signed(passed_over.map(count).sum()));
        for fault in Fault::ALL {
            let reason = fault.label();
            at_scrape
                .certificate_faults
                .get_or_create(&FaultLabels { reason })
                .set(signed(count(&fault)));
        }
        at_scrape
            .client_authority_loads
            .set(signed(facts.client_authority_loads));
    }
}

async fn readyz(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let checks = health.checks();
    let ready = checks.iter().all(|check| check.ready);
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    let mut page = String::new();
    for check in checks.iter().filter(|check| verbose || !check.ready) {
        let sign = if check.ready { '+' } else { '-' };
        page.push_str(&format!("[{sign}] {}: {}\n", check.name, check.detail));
    }
    page.push_str(if ready { "ready\n" } else { "not ready\n" });
    (
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        page,
    )
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    health.fill_in();
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, form)], health.metrics.page())
}
