//! Tests that cannot run everywhere.

use std::io::{self, Write};

/// Says that a test is skipped and why, past the capture of the test harness, so that nobody takes
/// it for passed. In CI (`CI=true`) nothing may be skipped.
///
/// # Panics
/// In CI.
#[allow(clippy::panic, reason = "a test fails by it")]
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    if std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1") {
        panic!("{test} cannot run here, and in CI it must: {why}");
    }
    // A harness that has gone away cannot be told.
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}
