//! `drainhook certs`: keeps the CA in its Secret and the `caBundle` of every webhook.
//!
//! The work itself is the crate `drainhook-certs`; here are its flags, its port and its end.

mod args;
mod metrics;
mod run;

pub use args::CertsArgs;
