//! The settings of a drain, as the sidecar has them.

use std::{collections::HashMap, time::Duration};

use crate::pod::PodSpec;

/// The settings of a drain that decide when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The pause before Envoy is told.
    pub drain_delay: Duration,
    /// The floor, after the pause.
    pub min_drain: Duration,
    /// How long no connection may arrive.
    pub quiet: Duration,
    /// How long no request may arrive on connections that are idle.
    pub idle_quiet: Duration,
    /// How long after the floor arrivals may hold up the end.
    pub arrivals_timeout: Duration,
    /// How long websockets may hold up the end when they are all that is left.
    pub upgrade_timeout: Duration,
    /// The bound of it all.
    pub drain_timeout: Duration,
}

impl Settings {
    /// The settings in the sidecar's environment; none where the pod has no sidecar.
    pub fn of(spec: &PodSpec) -> Option<Self> {
        let sidecar = spec
            .all()
            .find(|container| container.is_shutdown_manager())?;
        let variables: HashMap<_, _> = sidecar
            .env
            .iter()
            .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
            .collect();
        let duration = |name: &str, default: u64| {
            let value = variables.get(format!("SHUTDOWN_MANAGER_{name}").as_str());
            let value = value.and_then(|value| {
                let seconds = value.parse().map(Duration::from_secs).ok();
                seconds.or_else(|| humantime::parse_duration(value).ok())
            });
            value.unwrap_or(Duration::from_secs(default))
        };
        let drain_timeout = duration("DRAIN_TIMEOUT", 300);
        Some(Settings {
            drain_delay: duration("DRAIN_DELAY", 0),
            min_drain: duration("MIN_DRAIN", 5),
            quiet: duration("QUIET", 2),
            idle_quiet: duration("IDLE_QUIET", 1),
            arrivals_timeout: duration("ARRIVALS_TIMEOUT", 60),
            upgrade_timeout: duration("UPGRADE_TIMEOUT", drain_timeout.as_secs()),
            drain_timeout,
        })
    }
}
