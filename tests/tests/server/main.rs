//! `drainhook serve` as a process, on loopback: signals, certificates, clients that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clients;
mod defaults;
mod faults;
mod files;
mod flood;
mod stage;
mod stop;
