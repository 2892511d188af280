//! The command line as a person or a pipeline calls it.

// In tests a panic is how a test fails.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod check;
mod files;
mod inject;
mod manual;
mod program;
mod survey;
