//! The life of a pod, as far as it was seen.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::{
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod},
    jiff::Timestamp,
};

use super::Waits;
use crate::{
    due::{self, Settings, Verdict},
    load::Record,
    pod::PodSpec,
};

/// The sidecar's container.
pub const SIDECAR: &str = "shutdown-manager";

/// So long before a drain is due begins what decides when it ends: the last arrival (`quiet` before, 2 s), and
/// the pause of the sidecar before the look that saw it (1 s at most).
const DECIDING: Duration = Duration::from_secs(3);

/// The life of a pod, as far as it has come.
#[derive(Clone, Debug)]
pub struct Life {
    /// What was last seen of it.
    pub pod: Pod,
    /// Its address, as soon as it had one: at its end the kubelet may tell of it no more.
    pub address: Option<IpAddr>,
    /// When it was seen that somebody has asked for its end.
    pub deleted: Option<Instant>,
    /// When its grace period is over, as Kubernetes has written it down, to the second.
    pub grace_ends: Option<Timestamp>,
    /// When it was seen that it is gone.
    pub gone: Option<Instant>,
    /// When the node that the load comes from was seen to send no new connections there any more.
    pub unknown: Option<Instant>,
    /// When the first hook came, by the sidecar's log.
    pub asked: Option<Instant>,
    /// When the last drain was over, by the sidecar's log.
    pub over: Option<Instant>,
    /// When it became ready and stopped being so.
    pub ready: Vec<(Instant, bool)>,
    /// What the sidecar has logged, all its restarts together.
    pub log: Vec<String>,
    /// What the kernel kept its drain waiting for.
    pub waits: Waits,
    /// Of how many of its sidecar's processes the log is still being read.
    pub(super) reading: usize,
}

impl Life {
    /// Of a pod that is seen for the first time.
    pub(super) fn of(pod: Pod) -> Self {
        Self {
            address: address(&pod),
            pod,
            deleted: None,
            grace_ends: None,
            gone: None,
            unknown: None,
            asked: None,
            over: None,
            ready: Vec::new(),
            log: Vec::new(),
            waits: Waits::default(),
            reading: 0,
        }
    }

    /// Something new is seen of it.
    pub(super) fn saw(&mut self, pod: Pod) {
        self.address = self.address.or_else(|| address(&pod));
        self.pod = pod;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The status of one of its containers, whatever sort it is.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        let status = self.pod.status.as_ref()?;
        let init = status.init_container_statuses.iter().flatten();
        let mut all = init.chain(status.container_statuses.iter().flatten());
        all.find(|container| container.name == name)
    }

    /// The last words of a container that has ended.
    pub fn last_words(&self, container: &str) -> Option<&str> {
        let state = self.container(container)?.state.as_ref()?;
        state.terminated.as_ref()?.message.as_deref()
    }

    /// The sidecar's report.
    pub fn report(&self) -> Option<&str> {
        self.last_words(SIDECAR)
    }

    /// How long it took from the wish for its end to its end.
    pub fn took(&self) -> Option<Duration> {
        Some(self.gone?.saturating_duration_since(self.deleted?))
    }

    /// Whether it is gone, and all that its sidecar had to say is known.
    pub fn is_over(&self) -> bool {
        self.gone.is_some() && self.reading == 0
    }

    /// When a container of it had ended, by the node's clock, which counts whole seconds: not later.
    pub fn ended_by(&self, container: &str) -> Option<Instant> {
        let state = self.container(container)?.state.as_ref()?;
        second_after(state.terminated.as_ref()?)
    }

    /// When a container of it had ended before it was started again, as [`Life::ended_by`], and with which
    /// exit code.
    pub fn last_ended_by(&self, container: &str) -> Option<(Instant, i32)> {
        let state = self.container(container)?.last_state.as_ref()?;
        let ended = state.terminated.as_ref()?;
        Some((second_after(ended)?, ended.exit_code))
    }

    /// Where it stands, in a line.
    pub fn describe(&self) -> String {
        let ago = |moment: Option<Instant>, what: &str| {
            let seconds = moment.map(|moment| moment.elapsed().as_secs_f64());
            seconds.map(|seconds| format!(", {what} {seconds:.0} s ago"))
        };
        let ready = self.is_ready();
        let status = self.pod.status.as_ref();
        let containers = [
            status.and_then(|status| status.init_container_statuses.as_ref()),
            status.and_then(|status| status.container_statuses.as_ref()),
        ];
        let containers: Vec<_> = containers
            .into_iter()
            .flatten()
            .flatten()
            .map(|container| format!("{} {}", container.name, state(container)))
            .collect();
        [
            Some(format!(
                "{}: {}",
                self.name(),
                if ready { "ready" } else { "not ready" }
            )),
            ago(self.deleted, "told to end"),
            ago(self.asked, "drain asked for"),
            ago(self.over, "drain over"),
            ago(self.gone, "gone"),
            (self.reading > 0).then(|| ", its log is not read to the end".to_owned()),
            Some(format!("; {}", containers.join(", "))),
            self.log
                .last()
                .map(|line| format!("; it last said: {line}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether it was ready when it was last seen.
    pub fn is_ready(&self) -> bool {
        self.ready.last().is_some_and(|(_, ready)| *ready)
    }

    /// Whether it has ever been ready.
    pub fn has_served(&self) -> bool {
        self.ready.iter().any(|(_, ready)| *ready)
    }

    /// From when until when it was not ready, each time between two at which it was. The kubelet tells of
    /// what it sees when it looks; what is over by then was never told.
    pub fn unready(&self) -> Vec<(Instant, Instant)> {
        let served = self.ready.iter().skip_while(|(_, ready)| !ready);
        let changes: Vec<_> = served.collect();
        let pairs = changes.windows(2).filter(|pair| !pair[0].1 && pair[1].1);
        pairs.map(|pair| (pair[0].0, pair[1].0)).collect()
    }

    /// Whether its drain ended when it was due, by what the clients saw; none where it had none.
    pub fn verdict(&self, record: &Record, traffic: u16) -> Option<Verdict> {
        let endpoint = SocketAddr::new(self.address?, traffic);
        let settings = self.settings()?;
        let (asked, over) = (self.asked?, self.over?);
        let mut verdict = due::verdict(self.name(), endpoint, asked, over, record, &settings);
        let deciding = (asked + verdict.due).checked_sub(DECIDING).unwrap_or(asked);
        verdict.held = self.waits.between(deciding.max(asked), over);
        verdict.held_since_due = self.waits.between((asked + verdict.due).min(over), over);
        // Behind the first Envoy each request may be a new connection, which the clients do not see.
        if self.container("inner").is_some() {
            verdict.unseen = settings.quiet.saturating_sub(settings.idle_quiet);
        }
        Some(verdict)
    }

    fn settings(&self) -> Option<Settings> {
        let spec = serde_json::to_value(&self.pod.spec).ok()?;
        let spec: PodSpec = serde_json::from_value(spec).ok()?;
        Settings::of(&spec)
    }
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

fn second_after(ended: &ContainerStateTerminated) -> Option<Instant> {
    let finished = ended.finished_at.as_ref()?;
    let seconds = u64::try_from(finished.0.as_second()).ok()?;
    instant(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds + 1))
}

/// A moment by the system's clock.
pub(super) fn instant(at: SystemTime) -> Option<Instant> {
    let now = Instant::now();
    match SystemTime::now().duration_since(at) {
        Ok(ago) => now.checked_sub(ago),
        Err(ahead) => now.checked_add(ahead.duration()),
    }
}

/// What a container does, in a word or two.
fn state(container: &ContainerStatus) -> String {
    let Some(state) = &container.state else {
        return "not started".to_owned();
    };
    match (&state.running, &state.waiting, &state.terminated) {
        (Some(_), ..) => "runs".to_owned(),
        (_, Some(waiting), _) => format!("waits ({})", waiting.reason.as_deref().unwrap_or("-")),
        (.., Some(ended)) => format!("ended with {}", ended.exit_code),
        _ => "not started".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        from_value(json!({ "metadata": { "name": "gateway" }, "status": status })).unwrap()
    }

    #[test]
    fn a_pod_keeps_its_address_where_the_kubelet_tells_of_it_no_more() {
        let mut life = Life::of(pod(json!({})));
        assert_eq!(life.address, None);
        life.saw(pod(json!({ "podIP": "10.244.1.7" })));
        life.saw(pod(json!({ "phase": "Succeeded" })));
        assert_eq!(life.address, Some(IpAddr::from([10, 244, 1, 7])));
    }
}
