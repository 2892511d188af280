//! The HTTP server: hooks, probes, status and metrics.

mod accept;
mod listen;
mod routes;
mod status;

use std::sync::Arc;

use crate::group::Group;

pub(crate) use accept::Server;
pub use listen::{BindError, bind};

/// The header in which a caller proves that it may.
pub const TOKEN_HEADER: &str = "x-drainhook-token";

/// A server for a group, on a bound socket.
pub(crate) fn server(group: &Arc<Group>, listener: tokio::net::TcpListener) -> Server {
    Server::new(listener, routes::router(Arc::clone(group)))
}
