//! Listeners: as configured, as named by the user, and what each counts for.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Reads `/config_dump?resource=static_listeners` or `dynamic_listeners`, masked or whole.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read_config_dump(body: &[u8]) -> Result<Vec<Self>, String> {
        let dump: Dump = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let listeners = dump.configs.into_iter().filter_map(|config| {
            config
                .listener
                .or(config.active_state.and_then(|state| state.listener))
        });
        Ok(listeners.map(Self::from).collect())
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

impl From<Configured> for Listener {
    fn from(listener: Configured) -> Self {
        let stat_name = if listener.stat_prefix.is_empty() {
            listener
                .address
                .as_ref()
                .map(Address::stat_name)
                .unwrap_or_default()
        } else {
            listener.stat_prefix
        };
        let others = listener
            .additional_addresses
            .into_iter()
            .filter_map(|other| other.address);
        let ports = listener
            .address
            .into_iter()
            .chain(others)
            .filter_map(|address| address.socket_address?.port_value)
            .collect();
        Self {
            name: listener.name,
            stat_name,
            ports,
            modify_only: listener.drain_type == "MODIFY_ONLY",
        }
    }
}

impl Address {
    fn stat_name(&self) -> String {
        match (&self.socket_address, &self.pipe) {
            (
                Some(SocketAddress {
                    address,
                    port_value,
                }),
                _,
            ) => {
                let port = port_value.unwrap_or_default();
                if address.contains(':') {
                    format!("[{}]_{port}", address.replace(':', "_"))
                } else {
                    format!("{address}_{port}")
                }
            }
            (None, Some(pipe)) => pipe.path.replace(':', "_"),
            (None, None) => String::new(),
        }
    }
}

// Of the configuration only what is asked for; whatever else there is, is none of our business.

#[derive(Deserialize)]
struct Dump {
    #[serde(default)]
    configs: Vec<Config>,
}

#[derive(Deserialize)]
struct Config {
    listener: Option<Configured>,
    active_state: Option<ActiveState>,
}

#[derive(Deserialize)]
struct ActiveState {
    listener: Option<Configured>,
}

#[derive(Deserialize)]
struct Configured {
    #[serde(default)]
    name: String,
    #[serde(default)]
    stat_prefix: String,
    #[serde(default)]
    drain_type: String,
    address: Option<Address>,
    #[serde(default)]
    additional_addresses: Vec<AdditionalAddress>,
}

#[derive(Deserialize)]
struct AdditionalAddress {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
    pipe: Option<Pipe>,
}

#[derive(Deserialize)]
struct SocketAddress {
    #[serde(default)]
    address: String,
    port_value: Option<u16>,
}

#[derive(Deserialize)]
struct Pipe {
    #[serde(default)]
    path: String,
}

#[cfg(test)]
mod tests;
