//! `/status`: what each Envoy and its drain do, for a person.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::Serialize;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    admin::ServerState,
    drain::{Observation, Question},
    drive::Progress,
    group::{Envoy, Group},
    reading::Breakdown,
    report::DrainReport,
};

/// An idle Envoy is looked at because somebody asked, and no more often than this however many ask.
const FRESH: Duration = Duration::from_secs(1);

/// The answer of the last second.
static LAST: Mutex<Option<(Instant, Status)>> = Mutex::const_new(None);

/// What `/status` answers.
#[derive(Clone, Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// That of the Envoy whose drain began last, or `idle`.
    phase: &'static str,
    /// Seconds in that phase; nothing when idle.
    since_seconds: Option<f64>,
    envoys: Vec<EnvoyStatus>,
}

#[derive(Clone, Serialize)]
struct EnvoyStatus {
    name: String,
    admin: String,
    phase: &'static str,
    since_seconds: Option<f64>,
    drain_seconds: Option<f64>,
    decision: String,
    listeners: Vec<OpenListener>,
    http: Vec<OpenHttp>,
    last_drain: Option<DrainReport>,
}

#[derive(Clone, Serialize)]
struct OpenListener {
    listener: String,
    counts_as: &'static str,
    connections: u64,
}

#[derive(Clone, Serialize)]
struct OpenHttp {
    prefix: String,
    requests: u64,
    upgrades: u64,
}

pub(super) async fn status(State(group): State<Arc<Group>>) -> Json<Status> {
    let mut last = LAST.lock().await;
    if let Some((at, status)) = &*last
        && at.elapsed() < FRESH
        && !group.is_draining()
        && status.phase == "idle"
    {
        return Json(status.clone());
    }
    let mut envoys = Vec::new();
    let mut latest: Option<Progress> = None;
    for (number, envoy) in group.envoys().iter().enumerate() {
        let last_drain = group.last(number);
        match group.progress(number) {
            Some(progress) => {
                envoys.push(draining(envoy, &progress, last_drain));
                if latest
                    .as_ref()
                    .is_none_or(|latest| latest.began < progress.began)
                {
                    latest = Some(progress);
                }
            }
            None => envoys.push(idle(&group, envoy, last_drain).await),
        }
    }
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: latest
            .as_ref()
            .map_or("idle", |progress| progress.phase.as_str()),
        since_seconds: latest.as_ref().map(|progress| seconds(progress.since)),
        envoys,
    };
    *last = Some((Instant::now(), status.clone()));
    Json(status)
}

fn draining(envoy: &Envoy, progress: &Progress, last_drain: Option<DrainReport>) -> EnvoyStatus {
    EnvoyStatus {
        phase: progress.phase.as_str(),
        since_seconds: Some(seconds(progress.since)),
        drain_seconds: Some(seconds(progress.began)),
        decision: progress.words.clone(),
        last_drain,
        ..EnvoyStatus::new(envoy, &progress.breakdown)
    }
}

async fn idle(group: &Group, envoy: &Envoy, last_drain: Option<DrainReport>) -> EnvoyStatus {
    let (decision, breakdown) = match envoy.server_info().await {
        Err(error) => (error.to_string(), Breakdown::default()),
        Ok(info) => {
            let state = match info.state {
                ServerState::Live => "live",
                ServerState::Draining => "draining",
                ServerState::Starting => "starting",
            };
            let mut eyes = group.eyes(envoy);
            let known = match eyes.answer(Question::Gauges).await {
                Observation::Gauges(_) => "",
                _ => ", what is open is unknown",
            };
            let words = format!(
                "nobody asked for a drain; Envoy {} is {state}{known}",
                info.version
            );
            (words, eyes.breakdown().clone())
        }
    };
    EnvoyStatus {
        decision,
        last_drain,
        ..EnvoyStatus::new(envoy, &breakdown)
    }
}

impl EnvoyStatus {
    fn new(envoy: &Envoy, breakdown: &Breakdown) -> Self {
        let listeners = breakdown
            .listeners
            .iter()
            .map(|(listener, class, connections)| OpenListener {
                listener: listener.clone(),
                counts_as: class.as_str(),
                connections: *connections,
            });
        let http = breakdown
            .http
            .iter()
            .map(|(prefix, requests, upgrades)| OpenHttp {
                prefix: prefix.clone(),
                requests: *requests,
                upgrades: *upgrades,
            });
        Self {
            name: envoy.name.clone(),
            admin: envoy.admin.address().to_string(),
            phase: "idle",
            since_seconds: None,
            drain_seconds: None,
            decision: String::new(),
            listeners: listeners.collect(),
            http: http.collect(),
            last_drain: None,
        }
    }
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
