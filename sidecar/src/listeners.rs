//! Listeners: as configured, as named by the user, and what each counts for.

mod dump;

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) use dump::DumpReader;

/// A listener as the user names it: by its name, its stat name (`0.0.0.0_8080`, or its
/// `stat_prefix`) or its port. Always the whole of it: `admin` does not mean `my-admin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerRef {
    text: String,
    port: Option<u16>,
}

/// What a listener counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing: Envoy's own, and what the user lists.
    Ignored,
    /// Requests in flight and connections that are not HTTP. What arrives does not extend the quiet
    /// time: probes and scrapes never stop.
    Quietened,
    /// Everything.
    Counted,
}

/// A listener of Envoy's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The name in its stats.
    pub stat_name: String,
    /// Its ports; none for a socket or an internal listener.
    pub ports: Vec<u16>,
    /// Whether it follows `drain_listeners` only and not the health check (`drain_type: MODIFY_ONLY`).
    pub modify_only: bool,
}

/// What the user said about listeners, and what is known of them.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    exclude: Vec<ListenerRef>,
    quietened: Vec<ListenerRef>,
    configured: Vec<Listener>,
}

impl ListenerRef {
    /// A reference from the user's text.
    pub fn new(text: &str) -> Self {
        let port = text.parse().ok();
        Self {
            text: text.to_owned(),
            port,
        }
    }

    fn means(&self, stat_name: &str, listener: Option<&Listener>) -> bool {
        let by_port = self.port.is_some_and(|port| {
            port_of(stat_name) == Some(port) || listener.is_some_and(|l| l.ports.contains(&port))
        });
        by_port
            || self.text == stat_name
            // An address is written with a colon everywhere but in a stat's name.
            || self.text.replace(':', "_") == stat_name
            || listener.is_some_and(|listener| listener.name == self.text)
    }
}

impl Class {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Quietened => "quietened",
            Self::Counted => "counted",
        }
    }
}

impl Listener {
    /// Reads `/config_dump?resource=static_listeners` or `dynamic_listeners`, masked or whole, which
    /// may come in pieces of any size.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read_config_dump<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Self>, String> {
        let mut reader = DumpReader::default();
        let _ = pieces.into_iter().try_for_each(|piece| reader.take(piece));
        reader.finish()
    }
}

impl Rules {
    /// Rules of which no listener's configuration is known yet.
    pub fn new(exclude: Vec<ListenerRef>, quietened: Vec<ListenerRef>) -> Self {
        Self {
            exclude,
            quietened,
            configured: Vec::new(),
        }
    }

    /// Whether the user said nothing, so that names and ports need not be known.
    pub fn is_empty(&self) -> bool {
        self.exclude.is_empty() && self.quietened.is_empty()
    }

    /// Takes what is known of the listeners' configuration.
    pub fn learn(&mut self, configured: Vec<Listener>) {
        self.configured = configured;
    }

    /// What the listener with this stat name counts for.
    pub fn class(&self, stat_name: &str) -> Class {
        let listener = self
            .configured
            .iter()
            .find(|listener| listener.stat_name == stat_name);
        let listed = |refs: &[ListenerRef]| refs.iter().any(|r| r.means(stat_name, listener));
        if stat_name.starts_with("envoy_internal_") || listed(&self.exclude) {
            Class::Ignored
        } else if listed(&self.quietened) {
            Class::Quietened
        } else {
            Class::Counted
        }
    }

    /// What a port counts for, where nothing but ports is known.
    pub fn class_of_port(&self, port: u16) -> Class {
        let listed = |refs: &[ListenerRef]| refs.iter().any(|r| r.port == Some(port));
        if listed(&self.exclude) {
            Class::Ignored
        } else if listed(&self.quietened) {
            Class::Quietened
        } else {
            Class::Counted
        }
    }
}

/// The port in a stat name that is made of an address: `0.0.0.0_80`, `[__]_80`.
fn port_of(stat_name: &str) -> Option<u16> {
    let (ip, port) = stat_name.rsplit_once('_')?;
    let is_ip = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(ip) => ip.replace('_', ":").parse::<Ipv6Addr>().is_ok(),
        None => ip.parse::<Ipv4Addr>().is_ok(),
    };
    if is_ip { port.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
