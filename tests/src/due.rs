//! When a drain was due, by what the clients saw.
//!
//! The sidecar ends a drain when nothing is left. Whether that was the right moment is computed
//! here from the load generator's record alone, without a word of the sidecar: the floor has
//! passed, the last connection arrived `quiet` ago, the last request ended `idle-quiet` ago.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::load::{Kind, Record};
use crate::pod::PodSpec;
use crate::rollout::Life;

/// A drain ends within this of when it is due.
pub const TOLERANCE: Duration = Duration::from_millis(500);

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
    /// After this, arrivals are not looked at any more.
    pub arrivals_timeout: Duration,
    /// How long websockets may hold up the end.
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

/// What a drain had to wait for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The floor.
    Floor,
    /// New connections.
    Arrivals,
    /// Requests.
    Requests,
    /// Websockets.
    Websockets,
    /// The bound of the whole drain.
    Timeout,
}

/// When a drain was due and when it ended, both from the moment the pod was told to end.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The pod.
    pub pod: String,
    /// When it was due.
    pub due: Duration,
    /// What it waited for longest.
    pub reason: Reason,
    /// When the hooks were answered.
    pub ended: Duration,
}

impl Verdict {
    /// How far the end was from when it was due; positive where it was late. Seconds.
    pub fn seconds_off(&self) -> f64 {
        self.ended.as_secs_f64() - self.due.as_secs_f64()
    }

    /// Whether it ended when it was due.
    pub fn is_on_time(&self) -> bool {
        self.seconds_off().abs() <= TOLERANCE.as_secs_f64()
    }
}

/// Judges the drain of one pod; none where it was not stopped or had no hook.
pub fn judge(life: &Life, record: &Record, settings: &Settings) -> Option<Verdict> {
    let stopped = life.stopped.as_ref()?;
    let hooks = stopped
        .containers
        .iter()
        .filter_map(|container| container.hook.as_ref());
    let ended = hooks.map(|hook| hook.at).max()?;
    let asked = stopped.asked;
    let floor = asked + settings.drain_delay + settings.min_drain;

    let heard_until = asked + settings.arrivals_timeout;
    let last_arrival = record
        .arrivals
        .iter()
        .filter(|arrival| arrival.endpoint == life.endpoint && arrival.at <= ended)
        .map(|arrival| arrival.at)
        .max();
    let arrivals = last_arrival.map(|at| (at + settings.quiet).min(heard_until));

    let here = || {
        record
            .requests
            .iter()
            .filter(|request| request.endpoint == Some(life.endpoint) && request.sent <= ended)
    };
    let is_websocket = |kind| matches!(kind, Kind::WebSocket | Kind::EndlessWebSocket);
    let requests = here()
        .filter(|request| !is_websocket(request.kind))
        .filter(|request| request.kind != Kind::HealthCheck || request.sent <= heard_until)
        .map(|request| request.ended.min(ended) + settings.idle_quiet)
        .max();
    let websockets = here()
        .filter(|request| is_websocket(request.kind) && request.ended > asked)
        .map(|request| request.ended.min(asked + settings.upgrade_timeout))
        .max();

    let (due, reason) = [
        (Some(floor), Reason::Floor),
        (arrivals, Reason::Arrivals),
        (requests, Reason::Requests),
        (websockets, Reason::Websockets),
    ]
    .into_iter()
    .filter_map(|(due, reason)| Some((due?, reason)))
    .max_by_key(|(due, _)| *due)?;
    let bound = asked + settings.drain_timeout;
    let (due, reason) = if due > bound {
        (bound, Reason::Timeout)
    } else {
        (due, reason)
    };
    let since = |moment: Instant| moment.saturating_duration_since(asked);
    Some(Verdict {
        pod: life.name.clone(),
        due: since(due),
        reason,
        ended: since(ended),
    })
}
