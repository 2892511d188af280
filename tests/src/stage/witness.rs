//! What becomes of each pod of a namespace, taken down while it happens: Kubernetes forgets a pod,
//! its log and its last words as soon as it is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{AsyncBufReadExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api, Client,
    api::LogParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::task::JoinHandle;

use crate::{
    cluster::Cluster,
    due::{self, Settings, Verdict},
    load::Record,
    pod::PodSpec,
};

/// The sidecar's container.
pub(super) const SIDECAR: &str = "shutdown-manager";

/// The life of a pod, as far as it has come.
#[derive(Clone, Debug)]
pub struct Life {
    /// What was last seen of it.
    pub pod: Pod,
    /// When it was seen that somebody has asked for its end.
    pub deleted: Option<Instant>,
    /// When it was seen that it is gone.
    pub gone: Option<Instant>,
    /// When the first hook came, by the sidecar's log.
    pub asked: Option<Instant>,
    /// When the last drain was over, by the sidecar's log.
    pub over: Option<Instant>,
    /// When it became ready and stopped being so.
    pub ready: Vec<(Instant, bool)>,
    /// What the sidecar has logged, all its restarts together.
    pub log: Vec<String>,
}

impl Life {
    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its address, where it has one.
    pub fn address(&self) -> Option<IpAddr> {
        let address = self.pod.status.as_ref()?.pod_ip.as_ref()?;
        address.parse().ok()
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

    /// Whether it has ever been ready.
    pub fn has_served(&self) -> bool {
        self.ready.iter().any(|(_, ready)| *ready)
    }

    /// How long it was not ready between two times at which it was.
    pub fn unready(&self) -> Duration {
        let changes = self.ready.windows(2);
        changes
            .filter(|pair| !pair[0].1 && pair[1].1 && pair[0].0 > self.ready[0].0)
            .map(|pair| pair[1].0.saturating_duration_since(pair[0].0))
            .sum()
    }

    /// Whether its drain ended when it was due, by what the clients saw; none where it had none.
    pub fn verdict(&self, record: &Record, traffic: u16) -> Option<Verdict> {
        let endpoint = SocketAddr::new(self.address()?, traffic);
        let settings = self.settings()?;
        let (asked, over) = (self.asked?, self.over?);
        Some(due::verdict(
            self.name(),
            endpoint,
            asked,
            over,
            record,
            &settings,
        ))
    }

    fn settings(&self) -> Option<Settings> {
        let spec = serde_json::to_value(&self.pod.spec).ok()?;
        let spec: PodSpec = serde_json::from_value(spec).ok()?;
        Settings::of(&spec)
    }
}

/// Watches the pods of a gateway until it is dropped.
#[derive(Debug)]
pub struct Witness {
    lives: Lives,
    task: JoinHandle<()>,
}

/// By the pods' uid.
type Lives = Arc<Mutex<BTreeMap<String, Life>>>;

impl Witness {
    /// Begins to watch the pods with the label `app: gateway` in a namespace.
    pub fn start(cluster: &Cluster, namespace: &str) -> Self {
        let lives = Lives::default();
        let pods = Api::namespaced(cluster.client(), namespace);
        let watch = watch(pods, cluster.client(), Arc::clone(&lives));
        Self {
            lives,
            task: tokio::spawn(watch),
        }
    }

    /// Every pod that was seen, in the order in which they were made.
    pub fn lives(&self) -> Vec<Life> {
        let mut lives: Vec<_> = locked(&self.lives).values().cloned().collect();
        lives.sort_by(|one, other| {
            let made = |life: &Life| {
                let time = life.pod.metadata.creation_timestamp.clone();
                (time, life.name().to_owned())
            };
            made(one).cmp(&made(other))
        });
        lives
    }

    /// The pods that are gone, which are forgotten.
    pub(super) fn forget_the_gone(&self) -> Vec<Life> {
        let gone = |_: &String, life: &mut Life| life.gone.is_some();
        locked(&self.lives)
            .extract_if(.., gone)
            .map(|(_, life)| life)
            .collect()
    }

    /// What was seen of one pod.
    pub fn life(&self, name: &str) -> Option<Life> {
        let lives = locked(&self.lives);
        lives.values().find(|life| life.name() == name).cloned()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(lives: &Lives) -> MutexGuard<'_, BTreeMap<String, Life>> {
    lives.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(pods: Api<Pod>, client: Client, lives: Lives) {
    let selected = watcher::Config::default().labels("app=gateway");
    let events = watcher(pods, selected).default_backoff();
    pin_mut!(events);
    let mut followed = BTreeSet::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => {
                follow(&pod, &client, &lives, &mut followed);
                seen(&lives, pod);
            }
            Ok(Some(Event::Delete(pod))) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                seen(&lives, pod);
                if let Some(life) = locked(&lives).get_mut(&uid) {
                    life.gone = Some(Instant::now());
                }
            }
            // The watch is begun anew after a fault.
            Ok(Some(Event::Init | Event::InitDone)) | Err(_) => {}
            Ok(None) => return,
        }
    }
}

fn seen(lives: &Lives, pod: Pod) {
    let now = Instant::now();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let mut lives = locked(lives);
    let life = lives.entry(uid).or_insert_with(|| Life {
        pod: pod.clone(),
        deleted: None,
        gone: None,
        asked: None,
        over: None,
        ready: Vec::new(),
        log: Vec::new(),
    });
    if pod.metadata.deletion_timestamp.is_some() {
        life.deleted.get_or_insert(now);
    }
    let ready = is_ready(&pod);
    if life.ready.last().is_none_or(|(_, last)| *last != ready) {
        life.ready.push((now, ready));
    }
    life.pod = pod;
}

/// Whether a pod is ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .filter_map(|status| status.conditions.as_ref());
    let mut ready = conditions
        .flatten()
        .filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

/// Reads the log of the sidecar, each time when it was started.
fn follow(pod: &Pod, client: &Client, lives: &Lives, followed: &mut BTreeSet<String>) {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let main = status.and_then(|status| status.container_statuses.as_ref());
    let sidecar = init.into_iter().chain(main).flatten();
    let mut sidecar = sidecar.filter(|container| container.name == SIDECAR);
    let running = sidecar.find(|container| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.running.is_some())
    });
    let id = running.and_then(|container| container.container_id.clone());
    let metadata = &pod.metadata;
    let (Some(id), Some(name), Some(namespace), Some(uid)) =
        (id, &metadata.name, &metadata.namespace, &metadata.uid)
    else {
        return;
    };
    if followed.insert(id) {
        let pods = Api::namespaced(client.clone(), namespace);
        tokio::spawn(read_log(pods, name.clone(), uid.clone(), Arc::clone(lives)));
    }
}

async fn read_log(pods: Api<Pod>, name: String, uid: String, lives: Lives) {
    let parameters = LogParams {
        container: Some(SIDECAR.to_owned()),
        follow: true,
        ..LogParams::default()
    };
    // A pod that is gone meanwhile has nothing to say any more.
    let Ok(log) = pods.log_stream(&name, &parameters).await else {
        return;
    };
    let mut lines = log.lines();
    while let Ok(Some(line)) = lines.try_next().await {
        let at = moment(&line);
        if let Some(life) = locked(&lives).get_mut(&uid) {
            match at {
                Some(at) if line.contains("drain asked for") => {
                    life.asked.get_or_insert(at);
                }
                Some(at) if line.contains("drain over") => life.over = Some(at),
                _ => {}
            }
            life.log.push(line);
        }
    }
}

/// When a line was logged, by the time at its beginning.
fn moment(line: &str) -> Option<Instant> {
    let logged = humantime::parse_rfc3339(line.split_whitespace().next()?).ok()?;
    let ago = SystemTime::now().duration_since(logged).unwrap_or_default();
    Instant::now().checked_sub(ago)
}
