//! Tests against a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod certs;
mod clients;
mod cluster;
mod creations;
mod goldens;
mod guard;
mod record;
mod replicas;
mod rotation;
mod site;
mod stamp;
mod warnings;
