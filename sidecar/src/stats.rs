//! Envoy's stats: which to ask for, and how to read the answer.
//!
//! Asked for in the text form, one `name: value` a line: half the bytes of the JSON form, and readable
//! in pieces. Names are whole there whatever tags a configuration takes out of them, so that an extra
//! tag cannot make one gauge appear twice.
//!
//! A row per worker thread (`listener.A.worker_0.downstream_cx_active`) repeats what stands in
//! `listener.A.downstream_cx_active`. These rows are most of an answer, so that the filter leaves
//! them out. RE2 has no way to say "does not end in", hence the long pattern.

use std::{collections::BTreeMap, ops::ControlFlow, sync::LazyLock};

use crate::admin::Lines;

/// What does not end in `.worker_N`.
const NO_WORKER: &str = r"(?:[^\d]|[^\d_]\d+|[^r]_\d+|[^e]r_\d+|[^k]er_\d+|[^r]ker_\d+|[^o]rker_\d+|[^w]orker_\d+|[^.]worker_\d+)";

/// The query for [`GaugeReader`].
pub(crate) static GAUGES_QUERY: LazyLock<String> = LazyLock::new(|| {
    let filter = format!(
        r"^(?:listener\..*{NO_WORKER}\.downstream_(?:pre_)?cx_active|http\..*\.downstream_(?:cx|rq|cx_upgrades)_active)$"
    );
    format!("?usedonly&type=Gauges&filter={}", encode(&filter))
});

/// The query for [`CounterReader`].
pub(crate) static COUNTERS_QUERY: LazyLock<String> = LazyLock::new(|| {
    let filter = format!(
        r"^listener\..*(?:{NO_WORKER}\.downstream_cx_total|\.http\..*\.downstream_rq_completed)$"
    );
    format!("?usedonly&type=Counters&filter={}", encode(&filter))
});

/// The query for [`PrefixReader`]: without `usedonly`, since a listener is of interest before its
/// first request.
pub(crate) static PREFIXES_QUERY: LazyLock<String> = LazyLock::new(|| {
    let filter = r"^listener\..*\.http\..*\.downstream_rq_completed$";
    format!("?type=Counters&filter={}", encode(filter))
});

/// Why stats are unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// The answer is not made of stats.
    #[error("{0:?} is no stat")]
    NoStat(String),
    /// Stats that every Envoy has are missing, so that others may be missing too.
    #[error("{0} is missing, so a stats_matcher hides stats of listeners")]
    Hidden(&'static str),
}

/// What is open and in flight, by stat name, everything included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Open connections by the stat name of their listener (`0.0.0.0_8080`).
    pub listeners: BTreeMap<String, Connections>,
    /// HTTP connection managers by their `stat_prefix`.
    pub http: BTreeMap<String, Http>,
}

/// Open connections of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Connections with a filter chain.
    pub active: u64,
    /// Connections still before it (being inspected by listener filters).
    pub inspected: u64,
}

/// What is open in an HTTP connection manager.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http {
    /// Connections.
    pub connections: u64,
    /// Requests in flight, upgrades included.
    pub requests: u64,
    /// Websockets and CONNECT tunnels.
    pub upgrades: u64,
}

/// What has come since Envoy started, by stat name, everything included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections by the stat name of their listener.
    pub connections: BTreeMap<String, u64>,
    /// Answered requests by the stat name of their listener.
    pub requests: BTreeMap<String, u64>,
}

/// The HTTP connection managers' prefixes, and the stat names of the listeners that use each.
pub type Prefixes = BTreeMap<String, Vec<String>>;

/// The name of the admin's listener and of its connection manager.
const ADMIN: &str = "admin";

/// The admin's one worker, which repeats the figures of its listener.
const ADMIN_THREAD: &str = "admin.main_thread";

/// Reads gauges from an answer, which may come in pieces of any size.
///
/// # Errors
///
/// Why they are unknown.
pub fn read_gauges<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Gauges, StatsError> {
    let mut reader = GaugeReader::default();
    let _ = pieces.into_iter().try_for_each(|piece| reader.take(piece));
    reader.finish()
}

/// Reads counters from an answer, which may come in pieces of any size.
///
/// # Errors
///
/// Why they are unknown.
pub fn read_counters<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Counters, StatsError> {
    let mut reader = CounterReader::default();
    let _ = pieces.into_iter().try_for_each(|piece| reader.take(piece));
    reader.finish()
}

/// Reads prefixes from an answer, which may come in pieces of any size.
///
/// # Errors
///
/// Why they are unknown.
pub fn read_prefixes<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Prefixes, StatsError> {
    let mut reader = PrefixReader::default();
    let _ = pieces.into_iter().try_for_each(|piece| reader.take(piece));
    reader.finish()
}

/// Collects [`Gauges`] from pieces of an answer.
#[derive(Default)]
pub(crate) struct GaugeReader {
    rows: Rows,
    gauges: Gauges,
}

impl GaugeReader {
    pub(crate) fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let Self { rows, gauges } = self;
        rows.take(piece, |name, value| gauge(gauges, name, value))
    }

    pub(crate) fn finish(self) -> Result<Gauges, StatsError> {
        let Self { rows, mut gauges } = self;
        rows.finish(|name, value| gauge(&mut gauges, name, value))?;
        gauges.listeners.remove(ADMIN_THREAD);
        // The admin counts the connection and the request of this very reading.
        let missing = if gauges
            .listeners
            .remove(ADMIN)
            .is_none_or(|own| own.active == 0)
        {
            Some("listener.admin.downstream_cx_active")
        } else if gauges
            .http
            .remove(ADMIN)
            .is_none_or(|own| own.requests == 0)
        {
            Some("http.admin.downstream_rq_active")
        } else {
            None
        };
        missing.map_or(Ok(gauges), |name| Err(StatsError::Hidden(name)))
    }
}

fn gauge(gauges: &mut Gauges, name: &str, value: u64) {
    let (target, value) = if let Some(name) = name.strip_prefix("listener.") {
        if let Some(name) = name.strip_suffix(".downstream_cx_active") {
            (&mut entry(&mut gauges.listeners, name).active, value)
        } else if let Some(name) = name.strip_suffix(".downstream_pre_cx_active") {
            (&mut entry(&mut gauges.listeners, name).inspected, value)
        } else {
            return;
        }
    } else if let Some(name) = name.strip_prefix("http.") {
        if let Some(name) = name.strip_suffix(".downstream_cx_active") {
            (&mut entry(&mut gauges.http, name).connections, value)
        } else if let Some(name) = name.strip_suffix(".downstream_rq_active") {
            (&mut entry(&mut gauges.http, name).requests, value)
        } else if let Some(name) = name.strip_suffix(".downstream_cx_upgrades_active") {
            (&mut entry(&mut gauges.http, name).upgrades, value)
        } else {
            return;
        }
    } else {
        return;
    };
    *target = target.saturating_add(value);
}

/// Collects [`Counters`] from pieces of an answer.
#[derive(Default)]
pub(crate) struct CounterReader {
    rows: Rows,
    counters: Counters,
}

impl CounterReader {
    pub(crate) fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let Self { rows, counters } = self;
        rows.take(piece, |name, value| counter(counters, name, value))
    }

    pub(crate) fn finish(self) -> Result<Counters, StatsError> {
        let Self { rows, mut counters } = self;
        rows.finish(|name, value| counter(&mut counters, name, value))?;
        counters.connections.remove(ADMIN_THREAD);
        if counters.connections.remove(ADMIN).is_none() {
            return Err(StatsError::Hidden("listener.admin.downstream_cx_total"));
        }
        match counters.requests.remove(ADMIN) {
            Some(_) => Ok(counters),
            None => Err(StatsError::Hidden(
                "listener.admin.http.admin.downstream_rq_completed",
            )),
        }
    }
}

fn counter(counters: &mut Counters, name: &str, value: u64) {
    let Some(name) = name.strip_prefix("listener.") else {
        return;
    };
    let total = if let Some(name) = name.strip_suffix(".downstream_cx_total") {
        entry(&mut counters.connections, name)
    } else if let Some((listener, _)) = answered(name) {
        entry(&mut counters.requests, listener)
    } else {
        return;
    };
    *total = total.saturating_add(value);
}

/// Collects [`Prefixes`] from pieces of an answer.
#[derive(Default)]
pub(crate) struct PrefixReader {
    rows: Rows,
    prefixes: Prefixes,
}

impl PrefixReader {
    pub(crate) fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let Self { rows, prefixes } = self;
        rows.take(piece, |name, _| prefix(prefixes, name))
    }

    pub(crate) fn finish(self) -> Result<Prefixes, StatsError> {
        let Self { rows, mut prefixes } = self;
        rows.finish(|name, _| prefix(&mut prefixes, name))?;
        match prefixes.remove(ADMIN) {
            Some(_) => Ok(prefixes),
            None => Err(StatsError::Hidden(
                "listener.admin.http.admin.downstream_rq_completed",
            )),
        }
    }
}

fn prefix(prefixes: &mut Prefixes, name: &str) {
    if let Some((listener, prefix)) = name.strip_prefix("listener.").and_then(answered) {
        entry(prefixes, prefix).push(listener.to_owned());
    }
}

/// `A.http.P.downstream_rq_completed` as (A, P).
fn answered(name: &str) -> Option<(&str, &str)> {
    name.strip_suffix(".downstream_rq_completed")?
        .split_once(".http.")
}

/// The value of a name, made where it is missing.
fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    map.entry(name.to_owned()).or_default()
}

/// Rows of the text form, from pieces of any size.
#[derive(Default)]
struct Rows {
    lines: Lines,
    wrong: Option<String>,
}

impl Rows {
    fn take(&mut self, piece: &[u8], mut row: impl FnMut(&str, u64)) -> ControlFlow<()> {
        let Self { lines, wrong } = self;
        lines.take(piece, |line| {
            *wrong = read_row(line, &mut row).err();
            if wrong.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    fn finish(self, mut row: impl FnMut(&str, u64)) -> Result<(), StatsError> {
        if let Some(wrong) = self.wrong {
            return Err(StatsError::NoStat(wrong));
        }
        read_row(self.lines.rest(), &mut row).map_err(StatsError::NoStat)
    }
}

fn read_row(line: &[u8], row: &mut impl FnMut(&str, u64)) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    let line = String::from_utf8_lossy(line);
    // From the end: a name may hold a colon, a value cannot.
    let read = line
        .rsplit_once(": ")
        .and_then(|(name, value)| Some((name, value.parse().ok()?)));
    match read {
        Some((name, value)) => {
            row(name, value);
            Ok(())
        }
        None => Err(line.chars().take(80).collect()),
    }
}

/// Percent-encodes all but what a query may hold as it is.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
