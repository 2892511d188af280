//! The head of `/server_info`.
//!
//! The whole answer is over 100 kB in Envoy 1.40, nearly all of it the list of extensions at its
//! end. What is needed here stands before it, one field a line, so it is read line by line and the
//! rest is never fetched.

use std::{ops::ControlFlow, time::Duration};

use super::lines::Lines;

/// What is known of an Envoy process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its state.
    pub state: ServerState,
    /// How long it has been running, in whole seconds.
    pub uptime: Duration,
    /// Its version: `1.40.0`.
    pub version: String,
    /// `--restart-epoch`: how often it was hot-restarted.
    pub restart_epoch: u64,
    /// `--drain-time-s`, where it was told.
    pub drain_time: Option<Duration>,
    /// `--drain-strategy` as Envoy writes it: `Gradual` or `Immediate`.
    pub drain_strategy: String,
}

/// Envoy's own word for what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It serves.
    Live,
    /// Its health check was failed.
    Draining,
    /// It has not served yet.
    Starting,
}

impl ServerInfo {
    /// Reads `/server_info`, or as much of it as stands before the node, in pieces of any size.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, String> {
        let mut reader = Reader::default();
        let _ = pieces.into_iter().try_for_each(|piece| reader.take(piece));
        reader.finish()
    }
}

/// Collects a [`ServerInfo`] from pieces of a body.
#[derive(Default)]
pub(super) struct Reader {
    lines: Lines,
    state: Option<ServerState>,
    uptime: Option<Duration>,
    version: Option<String>,
    restart_epoch: u64,
    drain_time: Option<Duration>,
    drain_strategy: String,
}

impl Reader {
    /// Takes a piece; breaks when all that is wanted has been read.
    pub(super) fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let flow = lines.take(piece, |line| self.line(line));
        self.lines = lines;
        flow
    }

    /// What was read.
    pub(super) fn finish(self) -> Result<ServerInfo, String> {
        let missing = |field: &str| format!("no {field:?} in it");
        Ok(ServerInfo {
            state: self.state.ok_or_else(|| missing("state"))?,
            uptime: self.uptime.ok_or_else(|| missing("uptime_current_epoch"))?,
            version: self.version.unwrap_or_default(),
            restart_epoch: self.restart_epoch,
            drain_time: self.drain_time,
            drain_strategy: self.drain_strategy,
        })
    }

    fn line(&mut self, line: &[u8]) -> ControlFlow<()> {
        let Some((depth, key, value)) = std::str::from_utf8(line).ok().and_then(field) else {
            return ControlFlow::Continue(());
        };
        match (depth, key) {
            (1, "version") => {
                let version = value.split('/').nth(1).unwrap_or(value);
                self.version = Some(version.to_owned());
            }
            (1, "state") => {
                self.state = match value {
                    "LIVE" => Some(ServerState::Live),
                    "DRAINING" => Some(ServerState::Draining),
                    "PRE_INITIALIZING" | "INITIALIZING" => Some(ServerState::Starting),
                    _ => None,
                }
            }
            (1, "uptime_current_epoch") => self.uptime = seconds(value),
            (2, "restart_epoch") => self.restart_epoch = value.parse().unwrap_or_default(),
            (2, "drain_time") => self.drain_time = seconds(value),
            (2, "drain_strategy") => value.clone_into(&mut self.drain_strategy),
            // The options are over, and after them comes only what is not wanted.
            (1, "node") => return ControlFlow::Break(()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The depth of a line (Envoy indents by one space a level), its key, and its value without quotes.
/// A text cannot contain a line break in JSON, so a line is never the inside of one.
fn field(line: &str) -> Option<(usize, &str, &str)> {
    let text = line.trim_start_matches(' ');
    let depth = line.len() - text.len();
    let (key, value) = text.strip_prefix('"')?.split_once("\": ")?;
    let value = value.trim_end().trim_end_matches(',').trim_matches('"');
    Some((depth, key, value))
}

fn seconds(text: &str) -> Option<Duration> {
    // protobuf writes fractions where there are some: "0.500s"
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "{\n \"version\": \"9e55/1.40.0/Clean/RELEASE/BoringSSL\",\n \"state\": \"LIVE\",\n \"uptime_current_epoch\": \"30s\",\n \"uptime_all_epochs\": \"31s\",\n \"command_line_options\": {\n  \"config_yaml\": \"a:\\n \\\"state\\\": \\\"DRAINING\\\"\",\n  \"drain_time\": \"600s\",\n  \"restart_epoch\": 2,\n  \"drain_strategy\": \"Gradual\",\n  \"cpuset_threads\": false\n },\n \"node\": {\n  \"state\": \"x\"\n";

    fn read(text: &str, size: usize) -> (Result<ServerInfo, String>, bool) {
        let mut reader = Reader::default();
        let done = text
            .as_bytes()
            .chunks(size)
            .any(|piece| reader.take(piece).is_break());
        (reader.finish(), done)
    }

    #[test]
    fn reads_the_head_in_pieces_of_any_size_and_stops_there() {
        for size in [1, 7, 4096] {
            let (info, done) = read(HEAD, size);
            let info = info.unwrap();
            assert!(done);
            assert_eq!(info.state, ServerState::Live);
            assert_eq!(info.uptime, Duration::from_secs(30));
            assert_eq!(info.version, "1.40.0");
            assert_eq!(info.restart_epoch, 2);
            assert_eq!(info.drain_time, Some(Duration::from_secs(600)));
            assert_eq!(info.drain_strategy, "Gradual");
        }
    }

    #[test]
    fn is_unknown_where_the_state_or_the_uptime_is_missing() {
        for text in [
            "",
            "{}",
            "<html>",
            "{\n \"state\": \"LIVE\"\n}",
            "{\n \"state\": \"ODD\",\n",
        ] {
            assert!(read(text, 64).0.is_err(), "{text}");
        }
    }
}
