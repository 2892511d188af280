//! Envoy's own configuration: what it listens on and what it calls, and how it reads on this
//! machine.
//!
//! Listeners and the admin interface move to the pod's address. So do clusters at the pod's own
//! loopback (a container beside Envoy). Every other upstream cannot be reached from here and is
//! played by the tests: it moves to one address outside of the pods, with its port. TLS is taken
//! off on both sides where the other end is played by the tests, which hold no certificates.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

use super::translate::{Translation, is_own};

/// What a configuration of Envoy asks of its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Where it listens for HTTP, in the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// Everything that it listens on, the admin interface too.
    pub bound: BTreeSet<SocketAddr>,
    /// What it calls inside of its pod and is not its own.
    pub inside: BTreeSet<SocketAddr>,
    /// What it calls outside of it.
    pub outside: BTreeSet<SocketAddr>,
    /// What was changed beyond addresses, in words.
    pub notes: Vec<String>,
}

impl Surroundings {
    fn add(&mut self, other: Surroundings) {
        for listener in other.listeners {
            if !self.listeners.contains(&listener) {
                self.listeners.push(listener);
            }
        }
        self.bound.extend(other.bound);
        self.inside.extend(other.inside);
        self.outside.extend(other.outside);
        self.notes.extend(other.notes);
    }

    /// Those of two configurations of one pod.
    pub(super) fn merge(&mut self, other: Surroundings) {
        self.add(other);
        self.inside.retain(|address| !self.bound.contains(address));
    }
}

/// Rewrites a configuration (the bootstrap, or listeners or clusters in a file of their own) in
/// place, and says what it asks for.
pub(super) fn translate(
    config: &mut Value,
    translation: &Translation,
    outside: IpAddr,
) -> Surroundings {
    let mut walk = Walk {
        translation,
        outside,
        found: Surroundings::default(),
    };
    walk.visit(config, Part::Other);
    let found = walk.found;
    let mut merged = Surroundings::default();
    merged.merge(found);
    merged
}

/// Whether this is a configuration of Envoy at all.
pub(super) fn is_envoy_config(config: &Value) -> bool {
    [
        "static_resources",
        "dynamic_resources",
        "admin",
        "resources",
        "staticResources",
    ]
    .iter()
    .any(|key| config.get(key).is_some())
}

/// The part of the configuration that the walk is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Listener { http: bool },
    Cluster,
    Other,
}

struct Walk<'a> {
    translation: &'a Translation,
    outside: IpAddr,
    found: Surroundings,
}

impl Walk<'_> {
    fn visit(&mut self, value: &mut Value, part: Part) {
        match value {
            Value::Object(object) => self.object(object, part),
            Value::Array(items) => items.iter_mut().for_each(|item| self.visit(item, part)),
            Value::String(text) => {
                let translated = self.translation.paths(text);
                *text = translated;
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn object(&mut self, object: &mut Map<String, Value>, part: Part) {
        let part = self.enter(object, part);
        for (key, value) in object.iter_mut() {
            if matches!(key.as_str(), "socket_address" | "socketAddress") {
                self.address(value, part);
            } else {
                self.visit(value, part);
            }
        }
    }

    /// Which part an object is, and what has to be taken off it.
    fn enter(&mut self, object: &mut Map<String, Value>, part: Part) -> Part {
        if object.contains_key("filter_chains") || object.contains_key("filterChains") {
            self.plain(object, &["filter_chains", "filterChains"]);
            return Part::Listener {
                http: mentions_http(object),
            };
        }
        let is_cluster = [
            "load_assignment",
            "loadAssignment",
            "lb_policy",
            "connect_timeout",
        ]
        .iter()
        .any(|key| object.contains_key(*key));
        if is_cluster {
            if remove_transport_socket(object) {
                let name = object
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or("?")
                    .to_owned();
                self.found
                    .notes
                    .push(format!("TLS towards cluster {name} is left out"));
            }
            return Part::Cluster;
        }
        part
    }

    /// Takes TLS off a listener.
    fn plain(&mut self, listener: &mut Map<String, Value>, chains: &[&str]) {
        let mut removed = false;
        for key in chains {
            for chain in listener
                .get_mut(*key)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(chain) = chain.as_object_mut()
                    && remove_transport_socket(chain)
                {
                    // What only TLS can tell would never match.
                    chain.remove("filter_chain_match");
                    chain.remove("filterChainMatch");
                    removed = true;
                }
            }
        }
        if removed {
            let name = listener
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or("?")
                .to_owned();
            self.found
                .notes
                .push(format!("TLS of listener {name} is left out"));
        }
    }

    fn address(&mut self, address: &mut Value, part: Part) {
        let Some(host) = address.get("address").and_then(Value::as_str) else {
            return;
        };
        let port = ["port_value", "portValue"]
            .iter()
            .find_map(|key| address.get(*key)?.as_u64());
        let own = is_own(host);
        let ip = match part {
            Part::Cluster if !own => self.outside,
            // A listener on an address of the machine's own is on the pod's here.
            _ => IpAddr::V4(self.translation.address()),
        };
        if let Some(address) = address.as_object_mut() {
            address.insert("address".to_owned(), Value::from(ip.to_string()));
            address.remove("ipv4_compat");
            address.remove("ipv4Compat");
        }
        let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
            return;
        };
        let at = SocketAddr::new(ip, port);
        let found = &mut self.found;
        match part {
            Part::Cluster if own => found.inside.insert(at),
            Part::Cluster => found.outside.insert(at),
            Part::Listener { http: true } => {
                found.listeners.push(at);
                found.bound.insert(at)
            }
            Part::Listener { http: false } | Part::Other => found.bound.insert(at),
        };
    }
}

fn remove_transport_socket(object: &mut Map<String, Value>) -> bool {
    [
        "transport_socket",
        "transportSocket",
        "transport_socket_matches",
    ]
    .iter()
    .filter(|key| object.remove(**key).is_some())
    .count()
        > 0
}

/// Whether a listener has an HTTP connection manager.
fn mentions_http(listener: &Map<String, Value>) -> bool {
    fn mentions(value: &Value) -> bool {
        match value {
            Value::String(text) => text.ends_with("HttpConnectionManager"),
            Value::Array(items) => items.iter().any(mentions),
            Value::Object(object) => object.values().any(mentions),
            _ => false,
        }
    }
    listener.values().any(mentions)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const CONFIG: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: "::", ipv4_compat: true, port_value: 8080}}
    filter_chains:
    - filter_chain_match: {server_names: [a.example]}
      transport_socket: {name: tls}
      filters:
      - typed_config: {"@type": "x/envoy.extensions.HttpConnectionManager"}
  - name: raw
    address: {socket_address: {address: 0.0.0.0, port_value: 5432}}
    filter_chains: [{filters: [{typed_config: {"@type": "x/TcpProxy"}}]}]
  clusters:
  - name: beside
    load_assignment:
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: 3000}}}}]}]
  - name: own admin
    load_assignment:
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}}]}]
  - name: far
    connect_timeout: 1s
    transport_socket: {name: tls}
    load_assignment:
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: far.example, port_value: 443}}}}]}]
"#;

    fn translated() -> (Value, Surroundings) {
        let mut config: Value = serde_saphyr::from_str(CONFIG).unwrap();
        let translation = Translation::new(Ipv4Addr::new(127, 1, 2, 1), Vec::new());
        let found = translate(&mut config, &translation, IpAddr::from([127, 1, 255, 1]));
        (config, found)
    }

    #[test]
    fn tells_what_envoy_listens_on_and_calls() {
        let (_, found) = translated();
        assert_eq!(found.listeners, ["127.1.2.1:8080".parse().unwrap()]);
        assert_eq!(
            Vec::from_iter(found.inside),
            ["127.1.2.1:3000".parse().unwrap()]
        );
        assert_eq!(
            Vec::from_iter(found.outside),
            ["127.1.255.1:443".parse().unwrap()]
        );
    }

    #[test]
    fn every_address_is_moved_and_no_port() {
        let (config, _) = translated();
        let text = config.to_string();
        for gone in [
            "0.0.0.0",
            "\"::\"",
            "127.0.0.1",
            "localhost",
            "far.example",
            "ipv4_compat",
        ] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        assert_eq!(
            config.pointer("/admin/address/socket_address").unwrap(),
            &serde_json::json!({"address": "127.1.2.1", "port_value": 9901})
        );
    }

    #[test]
    fn tls_is_taken_off_and_said() {
        let (config, found) = translated();
        assert!(!config.to_string().contains("transport_socket"), "{config}");
        assert!(!config.to_string().contains("server_names"), "{config}");
        // In the order of the configuration's keys, which JSON objects only keep where some crate of
        // the build asks for it.
        let mut notes = found.notes;
        notes.sort();
        assert_eq!(
            notes,
            [
                "TLS of listener web is left out",
                "TLS towards cluster far is left out"
            ]
        );
    }
}
