//! `drainhook serve`: the admission webhook's server.
//!
//! Bytes come in through [`port`] (connections, TLS, HTTP/1.1), [`api`] answers them, [`engine`] asks
//! the pure core. Around them: [`shares`] divides what is scarce, [`cluster`] and [`defaults`] keep
//! what the core wants to know, [`health`] tells how things are, [`stop`] ends it without a loss.

mod api;
mod args;
mod body;
mod cluster;
mod connections;
mod defaults;
mod engine;
mod error;
mod health;
mod log;
mod metrics;
mod port;
pub(crate) mod process;
mod refusal;
mod review;
mod reviewer;
mod server;
mod shares;
mod stop;
#[cfg(test)]
mod tests;

pub use args::{Certs, Choice, ClusterUse, ServeArgs, UnknownKeysArg};
pub use log::Format;
pub use reviewer::{Reviewer, ReviewerError};
