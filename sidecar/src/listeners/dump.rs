//! Reads listeners from `/config_dump`, line by line.
//!
//! A mask leaves only the wanted fields of static listeners. It cannot reach into dynamic ones (Envoy
//! answers 400), so that these come whole, with all their routes: nothing of that is kept. Envoy writes
//! one field a line, indented by one space a level, and a line is never the inside of a text.

use std::{mem, ops::ControlFlow};

use super::Listener;
use crate::admin::Lines;

/// Depth of a `ListenersConfigDump`'s entries: `{ "configs": [ { HERE`.
const ENTRY_DEPTH: usize = 3;

/// Collects listeners from pieces of an answer.
#[derive(Default)]
pub(crate) struct DumpReader {
    lines: Lines,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    /// The key on each level above the current line; empty for an entry of a list.
    path: Vec<String>,
    address: String,
    listeners: Vec<Listener>,
    is_whole: bool,
}

impl DumpReader {
    /// Takes a piece.
    pub(crate) fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let Self { lines, fields } = self;
        lines.take(piece, |line| {
            fields.line(line);
            ControlFlow::Continue(())
        })
    }

    /// What was read.
    pub(crate) fn finish(mut self) -> Result<Vec<Listener>, String> {
        self.fields.line(self.lines.rest());
        if self.fields.is_whole {
            Ok(self.fields.listeners)
        } else {
            Err("it is no configuration, or not a whole one".to_owned())
        }
    }
}

impl Fields {
    fn line(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            return;
        };
        let text = line.trim_start_matches(' ');
        let depth = line.len() - text.len();
        let text = text.trim_end().trim_end_matches(',');
        if depth == 0 {
            self.is_whole |= matches!(text, "}" | "{}");
        }
        let field = text
            .strip_prefix('"')
            .and_then(|text| text.split_once("\": "));
        let (key, value) = field.unwrap_or_default();
        self.path.truncate(depth);
        self.path.resize_with(depth, String::new);
        self.path.push(key.to_owned());
        if field.is_some() {
            self.field(value);
        }
    }

    fn field(&mut self, value: &str) {
        let path: Vec<&str> = self
            .path
            .iter()
            .skip(ENTRY_DEPTH)
            .map(String::as_str)
            .collect();
        // Static, or active; not one that warms up or drains.
        let path = path.strip_prefix(&["active_state"]).unwrap_or(&path);
        if path == ["listener"] {
            self.address.clear();
            self.listeners.push(Listener::default());
        }
        let Some(listener) = self.listeners.last_mut() else {
            return;
        };
        let text = || serde_json::from_str::<String>(value).unwrap_or_default();
        let port = || value.parse::<u16>().ok();
        match path {
            ["listener", "name"] => listener.name = text(),
            // After the address, whose stat name it replaces.
            ["listener", "stat_prefix"] => listener.stat_name = text(),
            ["listener", "drain_type"] => listener.modify_only = text() == "MODIFY_ONLY",
            ["listener", "address", "pipe", "path"] => listener.named(text().replace(':', "_")),
            ["listener", "address", "socket_address", "address"] => self.address = text(),
            ["listener", "address", "socket_address", "port_value"] => {
                let address = mem::take(&mut self.address);
                if address.contains(':') {
                    listener.named(format!("[{}]_{value}", address.replace(':', "_")));
                } else {
                    listener.named(format!("{address}_{value}"));
                }
                listener.ports.extend(port());
            }
            [
                "listener",
                "additional_addresses",
                "",
                "address",
                "socket_address",
                "port_value",
            ] => {
                listener.ports.extend(port());
            }
            _ => {}
        }
    }
}

impl Listener {
    /// Its stat name, where no `stat_prefix` says otherwise. Fields come in the order of Envoy's own
    /// definition: the address first.
    fn named(&mut self, stat_name: String) {
        if self.stat_name.is_empty() {
            self.stat_name = stat_name;
        }
    }
}
