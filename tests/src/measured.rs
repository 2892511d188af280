//! What tests measure without judging it.

use std::{
    fmt::Display,
    io::{self, Write},
    thread,
};

/// Tells what a test has measured, in lines past the capture of the test harness: what it prints of tests
/// that pass is thrown away. `.ci/run` repeats these lines at the end.
pub fn measured(what: impl Display) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    for line in what.to_string().lines() {
        // In one piece, so that lines of tests that run side by side do not mix.
        let line = format!("measured: {test}: {line}\n");
        // A harness that has gone away cannot be told.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
