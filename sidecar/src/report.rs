//! What is told about a drain that is over: the log line, `/shutdown`'s answer and the container's
//! termination message.

use std::{fs, io::Write, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    drain::{Outcome, Reason},
    reading::{Breakdown, Open},
    settings::DEFAULT_TERMINATION_LOG,
};

/// How many listeners and connection managers a line names; the rest is a count.
const MOST_NAMED: usize = 5;

/// The kubelet takes 4 kB of a termination message.
const MOST_MESSAGE_BYTES: usize = 4096;

/// The answer to `/shutdown`: the drains that were waited for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One for each Envoy, in the order of their hooks.
    pub drains: Vec<DrainReport>,
}

/// How one drain ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainReport {
    /// The Envoy.
    pub envoy: String,
    /// `drained`, `quiet`, `capped`, `timeout` or `envoy-gone`.
    pub reason: String,
    /// Seconds since the hook.
    pub seconds: f64,
    /// What was left; nothing where that is unknown.
    pub left: Option<Left>,
    /// Where the figures come from: `admin`, or `sockets`, which does not show requests.
    pub source: String,
    /// All of it in words.
    pub words: String,
}

/// What a drain left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Connections of any kind.
    pub connections: u64,
    /// Requests in flight.
    pub requests: u64,
    /// Websockets and CONNECT tunnels.
    pub upgrades: u64,
    /// Connections that are not HTTP.
    pub other: u64,
}

impl Report {
    /// Whether nothing was left that counts, in any Envoy.
    pub fn is_drained(&self) -> bool {
        let drained = |reason: &Reason| reason.is_drained();
        let words: Vec<_> = Reason::ALL
            .iter()
            .filter(|r| drained(r))
            .map(|r| r.as_str())
            .collect();
        !self.drains.is_empty()
            && self
                .drains
                .iter()
                .all(|d| words.contains(&d.reason.as_str()))
    }
}

impl DrainReport {
    /// The report of a drain.
    pub(crate) fn new(envoy: &str, outcome: &Outcome, breakdown: &Breakdown) -> Self {
        let Outcome {
            reason,
            after,
            left,
            source,
            words,
        } = outcome;
        let left = left.map(
            |Open {
                 connections,
                 requests,
                 upgrades,
                 other,
             }| Left {
                connections,
                requests,
                upgrades,
                other,
            },
        );
        let mut text = format!(
            "{envoy}: {} after {:.1} s: {words}",
            reason.as_str(),
            secs(*after)
        );
        if *source == crate::drain::Source::Sockets {
            text += "; Envoy's figures could not be had, so that connections were counted in \
                     /proc/net/tcp and requests could not be told from idle connections";
        }
        match left {
            Some(left) => text += &left.words(breakdown),
            None if *reason == Reason::EnvoyGone => {}
            None => text += "; what was left is unknown",
        }
        Self {
            envoy: envoy.to_owned(),
            reason: reason.as_str().to_owned(),
            seconds: (secs(*after) * 1000.0).round() / 1000.0,
            left,
            source: source.as_str().to_owned(),
            words: text,
        }
    }

    /// The log line.
    pub(crate) fn log(&self) {
        let Self {
            envoy,
            reason,
            seconds,
            left,
            source,
            words,
        } = self;
        let (connections, requests, upgrades, other) = left.map_or((-1, -1, -1, -1), |left| {
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            (
                count(left.connections),
                count(left.requests),
                count(left.upgrades),
                count(left.other),
            )
        });
        info!(
            envoy,
            reason, seconds, source, connections, requests, upgrades, other, "drain over: {words}"
        );
    }
}

impl Left {
    fn words(self, breakdown: &Breakdown) -> String {
        let Self {
            connections,
            requests,
            upgrades,
            other,
        } = self;
        if connections == 0 && requests == 0 {
            return "; nothing was left".to_owned();
        }
        let mut text = format!(
            "; left open: {connections} connections, of them {other} not HTTP, with {requests} \
             requests and {upgrades} upgrades"
        );
        let named = breakdown
            .listeners
            .iter()
            .map(|(name, _, count)| format!("{name}={count}"));
        let named: Vec<_> = named.take(MOST_NAMED).collect();
        if !named.is_empty() {
            let more = breakdown.listeners.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            text += &format!(" ({}{more})", named.join(" "));
        }
        text
    }
}

/// Writes the termination message. Where that fails nothing is lost but the message.
pub(crate) fn write_termination_message(path: &Path, report: &Report) {
    let lines: Vec<_> = report
        .drains
        .iter()
        .map(|drain| drain.words.as_str())
        .collect();
    let mut message = lines.join("\n");
    let end = (0..=MOST_MESSAGE_BYTES.min(message.len()))
        .rev()
        .find(|i| message.is_char_boundary(*i));
    message.truncate(end.unwrap_or_default());
    // The kubelet makes the default file. Outside of Kubernetes nobody wants one in /dev.
    let is_default = path == Path::new(DEFAULT_TERMINATION_LOG);
    let file = fs::File::options()
        .write(true)
        .truncate(true)
        .create(!is_default)
        .open(path);
    match file.and_then(|mut file| file.write_all(message.as_bytes())) {
        Ok(()) => {}
        Err(error) if is_default && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let path = path.display();
            warn!(%path, %error, "the termination message cannot be written; nothing else is lost");
        }
    }
}

/// Writes the ready file when drained.
pub(crate) fn write_ready_file(path: &Path, report: &Report) {
    let words = if report.is_drained() {
        "drained\n"
    } else {
        "done\n"
    };
    if let Err(error) = fs::write(path, words) {
        let path = path.display();
        warn!(%path, %error, "the ready file cannot be written; the drain does not need it");
    }
}

/// Removes the ready file of an earlier drain, which would tell that this one is over.
pub(crate) fn remove_ready_file(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let path = path.display();
            warn!(%path, %error, "the ready file of an earlier drain cannot be removed");
        }
        _ => {}
    }
}

fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests;
