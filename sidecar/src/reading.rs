//! From stats to what a drain is decided on.

use std::collections::BTreeMap;

use crate::{
    listeners::{Class, Rules},
    stats::{Counters, Gauges, Prefixes},
};

/// What is open now, of everything that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// Connections of any kind.
    pub connections: u64,
    /// Requests in flight, without upgrades.
    pub requests: u64,
    /// Websockets and CONNECT tunnels.
    pub upgrades: u64,
    /// Connections that are not HTTP.
    pub other: u64,
}

/// What has come so far, of everything that extends the quiet time. The figures mean nothing but
/// when they differ from earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Connections.
    pub connections: u64,
    /// Requests.
    pub requests: u64,
}

/// What is open, listener by listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// Stat name, class and open connections of each listener that has some.
    pub listeners: Vec<(String, Class, u64)>,
    /// Prefix, requests in flight (without upgrades) and upgrades of each HTTP connection manager
    /// that has some.
    pub http: Vec<(String, u64, u64)>,
}

/// How stats are to be understood: the rules, and which HTTP stats belong to which listeners.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// What each listener counts for.
    pub rules: Rules,
    prefixes: Prefixes,
    listeners: BTreeMap<String, Vec<String>>,
}

impl Layout {
    /// A layout of which nothing but the rules is known: everything counts.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// Takes what is known of HTTP prefixes.
    pub fn learn(&mut self, prefixes: Prefixes) {
        self.listeners.clear();
        for (prefix, listeners) in &prefixes {
            for listener in listeners {
                self.listeners
                    .entry(listener.clone())
                    .or_default()
                    .push(prefix.clone());
            }
        }
        self.prefixes = prefixes;
    }

    /// Whether there are HTTP stats of which the listeners are not known.
    pub fn is_stale(&self, gauges: &Gauges) -> bool {
        gauges
            .http
            .keys()
            .any(|prefix| !self.prefixes.contains_key(prefix))
    }

    /// What is open, of everything that counts.
    pub fn open(&self, gauges: &Gauges) -> Open {
        let mut open = Open::default();
        for (prefix, http) in &gauges.http {
            if !self.is_ignored_prefix(prefix) {
                let requests = http.requests.saturating_sub(http.upgrades);
                open.requests = open.requests.saturating_add(requests);
                open.upgrades = open.upgrades.saturating_add(http.upgrades);
            }
        }
        for (name, connections) in &gauges.listeners {
            if self.rules.class(name) != Class::Ignored {
                let all = connections.active.saturating_add(connections.inspected);
                open.connections = open.connections.saturating_add(all);
            }
        }
        open.other = self.not_http(gauges);
        open
    }

    /// What has come, of everything that extends the quiet time.
    pub fn arrived(&self, counters: &Counters) -> Arrived {
        let sum = |by_listener: &BTreeMap<String, u64>| {
            by_listener
                .iter()
                .filter(|(name, _)| self.rules.class(name) == Class::Counted)
                .fold(0u64, |sum, (_, count)| sum.wrapping_add(*count))
        };
        Arrived {
            connections: sum(&counters.connections),
            requests: sum(&counters.requests),
        }
    }

    /// What is open, for a person.
    pub fn breakdown(&self, gauges: &Gauges) -> Breakdown {
        let listeners = gauges.listeners.iter().map(|(name, connections)| {
            let all = connections.active.saturating_add(connections.inspected);
            (name.clone(), self.rules.class(name), all)
        });
        let http = gauges.http.iter().map(|(prefix, http)| {
            (
                prefix.clone(),
                http.requests.saturating_sub(http.upgrades),
                http.upgrades,
            )
        });
        Breakdown {
            listeners: listeners
                .filter(|(_, _, connections)| *connections > 0)
                .collect(),
            http: http
                .filter(|(_, requests, upgrades)| requests + upgrades > 0)
                .collect(),
        }
    }

    /// Connections that are not HTTP: those of a listener without those of its HTTP connection
    /// managers. Connections that a listener filter still looks at are neither: they have only just
    /// arrived.
    ///
    /// Where connection managers of several listeners share a prefix, their stats are one, and the
    /// difference is that of all these listeners together. Where a prefix belongs to no listener that
    /// is known, the listeners without HTTP join that group.
    fn not_http(&self, gauges: &Gauges) -> u64 {
        let http = |prefix: &String| gauges.http.get(prefix).map_or(0, |http| http.connections);
        let unknown: Vec<&String> = gauges
            .http
            .keys()
            .filter(|prefix| !self.prefixes.contains_key(*prefix))
            .collect();
        let mut alone = 0u64;
        let mut together = 0u64;
        for (name, connections) in &gauges.listeners {
            let ignored = self.rules.class(name) == Class::Ignored;
            let prefixes = self.listeners.get(name).map_or(&[][..], Vec::as_slice);
            let shared = prefixes.iter().any(|prefix| self.is_shared(prefix));
            if shared || (prefixes.is_empty() && !unknown.is_empty() && !ignored) {
                together = together.saturating_add(connections.active);
            } else if !ignored {
                let of_http = prefixes.iter().map(http).fold(0, u64::saturating_add);
                alone = alone.saturating_add(connections.active.saturating_sub(of_http));
            }
        }
        let shared = self.prefixes.keys().filter(|prefix| self.is_shared(prefix));
        let of_http = shared.chain(unknown).map(http).fold(0, u64::saturating_add);
        alone.saturating_add(together.saturating_sub(of_http))
    }

    /// Shared by listeners of which at least one counts.
    fn is_shared(&self, prefix: &str) -> bool {
        let listeners = self.prefixes.get(prefix).map_or(0, Vec::len);
        listeners > 1 && !self.is_ignored_prefix(prefix)
    }

    fn is_ignored_prefix(&self, prefix: &str) -> bool {
        let listeners = self.prefixes.get(prefix).map_or(&[][..], Vec::as_slice);
        !listeners.is_empty()
            && listeners
                .iter()
                .all(|name| self.rules.class(name) == Class::Ignored)
    }
}

#[cfg(test)]
mod tests;
