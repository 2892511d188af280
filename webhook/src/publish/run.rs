//! Puts the parts together, runs them, and ends them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use drainhook_certs::{Publisher, PublisherFacts, PublisherOptions, Publishing};

use super::{CertsArgs, metrics};
use crate::serve::process::{self, ClusterUse, ServeError, Signals};

/// The organization of our CAs, and the field manager of what is written.
const ORGANIZATION: &str = "drainhook";

/// Publishes until a signal asks for the end.
///
/// # Errors
///
/// [`ServeError`] where it cannot begin.
pub(super) fn run(args: CertsArgs) -> Result<(), ServeError> {
    process::start_log(args.log_format, &args.log_level)?;
    drainhook_certs::install();
    // Three objects and a page of metrics: one thread is plenty.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(process::system("start a runtime"))?;
    runtime.block_on(publish(args))
}

async fn publish(args: CertsArgs) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(process::system("listen for signals"))?;
    let listener = process::bind(args.bind, args.plain_port).await?;
    let options = PublisherOptions {
        secret: args.authority.secret(),
        labels: BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "drainhook".to_owned()),
            (
                "app.kubernetes.io/managed-by".to_owned(),
                "drainhook-certs".to_owned(),
            ),
        ]),
        configurations: args.configurations(),
        organization: ORGANIZATION.to_owned(),
        lifetimes: args.authority.lifetimes()?,
    };
    let client = process::client(ClusterUse::Auto)
        .await?
        .map_err(|reason| ServeError::Cluster(format!("there is none: {reason}")))?;
    tracing::info!(
        secret = %options.secret,
        configurations = ?options.configurations,
        plain = %process::local(&listener),
        version = env!("CARGO_PKG_VERSION"),
        "publishing",
    );
    let (publisher, publishing) = Publisher::new(client, options);
    let plain = process::serve_plain(listener, router(publishing));
    // Each write is one request, so it may end at any moment.
    tokio::select! {
        () = publisher.run() => {}
        () = plain => {}
        signal = signals.next() => tracing::info!(signal, "ended"),
    }
    Ok(())
}

fn router(publishing: Publishing) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(Arc::new(publishing))
}

/// Ready once every `caBundle` was right. Not being ready afterwards would help nobody: no Service
/// leads here.
async fn readyz(State(publishing): State<Arc<Publishing>>) -> impl IntoResponse {
    let facts = publishing.facts();
    let status = match facts.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, detail(&facts))
}

async fn scrape(State(publishing): State<Arc<Publishing>>) -> impl IntoResponse {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, form)], metrics::page(&publishing.facts()))
}

/// One line for each thing that is worth to be known.
fn detail(facts: &PublisherFacts) -> String {
    let mut page = match facts.phase {
        Some(phase) => format!("phase: {}, CAs trusted: {}\n", phase.label(), facts.trusted),
        None => "phase: the Secret was neither seen nor written yet\n".to_owned(),
    };
    if !facts.missing.is_empty() {
        page.push_str(&format!("missing: {}\n", facts.missing.join(", ")));
    }
    if let Some(failure) = &facts.failure {
        page.push_str(&format!("failing: {failure}\n"));
    }
    if let Some(untied) = &facts.untied {
        page.push_str(&format!(
            "an uninstallation will leave the Secret behind: {untied}\n"
        ));
    }
    page.push_str(if facts.right {
        "every caBundle is right\n"
    } else {
        "not every caBundle is right\n"
    });
    page
}
