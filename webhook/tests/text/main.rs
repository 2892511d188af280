//! Editing YAML and JSON by place, from outside.

// In tests a panic is how a test fails.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod edits;
mod endings;
mod injections;
mod painter;
mod properties;
mod styles;
