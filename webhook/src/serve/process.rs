//! What `drainhook certs` has in common with the server as a process: log, signals, the cluster's
//! client and a plain port.

use axum::Router;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

pub(crate) use super::{
    ClusterUse,
    error::{ServeError, system},
    server::{bind, client, local},
    stop::Signals,
};
use super::{
    Format,
    connections::{Connections, Patience},
    log,
    metrics::Metrics,
    port::Port,
    stop::{Stop, Stopping},
};

/// Connections to a plain port: the kubelet's probes and a scraper or two.
const CONNECTIONS: u64 = 64;

/// Begins to log.
///
/// # Errors
///
/// Where the filter is none.
pub(crate) fn start_log(format: Format, level: &str) -> Result<(), ServeError> {
    let filter = EnvFilter::try_new(level).map_err(|error| ServeError::LogLevel {
        filter: level.to_owned(),
        error,
    })?;
    log::init(format, filter);
    Ok(())
}

/// A port for health and metrics.
pub(super) fn plain_port(listener: TcpListener, router: Router, stopping: Stopping) -> Port {
    Port {
        name: "plain",
        listener,
        tls: None,
        connections: Connections::new(CONNECTIONS, Patience::default(), Metrics::new()),
        router,
        stopping,
        close_within: std::time::Duration::ZERO,
    }
}

/// Serves one until it is dropped.
pub(crate) async fn serve_plain(listener: TcpListener, router: Router) {
    let (stop, stopping) = Stop::new();
    let port = plain_port(listener, router, stopping);
    tokio::select! {
        () = port.connections.clone().watch() => {}
        _ = port.serve() => {}
    }
    drop(stop);
}
