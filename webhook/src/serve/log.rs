//! The server's log: one line per event on standard output, as text or as JSON.

use std::{
    io::IsTerminal as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one object per line.
    #[default]
    Json,
}

/// Lets through a few messages of a kind per second, so that nobody can fill a disk by posting
/// nonsense. What was passed over is counted.
#[derive(Debug)]
pub(super) struct Sparingly(Mutex<Second>);

#[derive(Debug)]
struct Second {
    began: Instant,
    logged: u32,
    passed_over: u64,
}

/// Enough to see what is going on.
const LINES_PER_SECOND: u32 = 5;

/// Begins to log, and lets a panic be logged like everything else.
pub(super) fn init(format: Format, filter: EnvFilter) {
    let lines = fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stdout().is_terminal());
    // A second attempt fails: only tests, which share a process, make one.
    let _ = match format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            place,
            "a defect, contained: {}",
            panic.payload_as_str().unwrap_or("?")
        );
    }));
}

impl Sparingly {
    /// How many were passed over since the last line, where one may be written now.
    pub(super) fn may_log(&self) -> Option<u64> {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.elapsed() >= Duration::from_secs(1) {
            second.began = Instant::now();
            second.logged = 0;
        }
        if second.logged == LINES_PER_SECOND {
            second.passed_over += 1;
            return None;
        }
        second.logged += 1;
        Some(std::mem::take(&mut second.passed_over))
    }
}

impl Default for Sparingly {
    fn default() -> Self {
        Self(Mutex::new(Second {
            began: Instant::now(),
            logged: 0,
            passed_over: 0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_becomes_a_few_lines_and_a_count() {
        let sparingly = Sparingly::default();
        let lines = (0..1000).filter(|_| sparingly.may_log().is_some()).count();
        assert!(lines < 100, "{lines}");
        sparingly.0.lock().unwrap().began = Instant::now() - Duration::from_secs(2);
        assert!(sparingly.may_log().unwrap() >= 900);
    }
}
