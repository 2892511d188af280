//! Tests against a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certs;
mod cluster;
mod stamp;
