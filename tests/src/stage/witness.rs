//! What becomes of each pod of a namespace, taken down while it happens: Kubernetes forgets a pod,
//! its log and its last words as soon as it is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::{AsyncBufReadExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::LogParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    life::{Life, SIDECAR, instant},
    news::{self, Rules},
    waits,
};
use crate::{cluster::Cluster, gateway::is_ready};

/// Before a log whose stream broke off is asked for again.
const AGAIN: Duration = Duration::from_millis(200);

/// Watches the pods of a gateway until it is dropped.
#[derive(Debug)]
pub struct Witness {
    lives: Lives,
    rules: Rules,
    task: JoinHandle<()>,
}

/// By the pods' uid.
pub(super) type Lives = Arc<Mutex<BTreeMap<String, Life>>>;

impl Witness {
    /// Begins to watch the pods with the label `app: gateway` in a namespace.
    pub fn start(cluster: &Cluster, namespace: &str) -> Self {
        let lives = Lives::default();
        let pods = Api::namespaced(cluster.client(), namespace);
        let rules = Rules::told_by(cluster.nodes()[0].command("iptables-save"));
        let watch = watch(pods, cluster.client(), rules.clone(), Arc::clone(&lives));
        Self {
            lives,
            rules,
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
        let over = |_: &String, life: &mut Life| life.is_over();
        locked(&self.lives)
            .extract_if(.., over)
            .map(|(_, life)| life)
            .collect()
    }

    /// Waits until the node that the load comes from sends no new connections to a pod that is there.
    ///
    /// # Errors
    /// When that has not come in three minutes, or the pod had no address.
    pub(super) async fn until_passed_over(&self, name: &str) -> Result<()> {
        let address = self.life(name).and_then(|life| life.address);
        let address = address.with_context(|| format!("{name} had no address"))?;
        self.rules.until_passed_over(address).await
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

pub(super) fn locked(lives: &Lives) -> MutexGuard<'_, BTreeMap<String, Life>> {
    lives.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(pods: Api<Pod>, client: Client, rules: Rules, lives: Lives) {
    let selected = watcher::Config::default().labels("app=gateway");
    let events = watcher(pods, selected).default_backoff();
    pin_mut!(events);
    let mut followed = BTreeSet::new();
    let mut listed = BTreeSet::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(pod))) => {
                seen(&lives, &rules, pod.clone());
                follow(&pod, &client, &lives, &mut followed);
            }
            // The watch begins, and begins anew after a fault, with all that there is.
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(pod))) => {
                listed.extend(pod.metadata.uid.clone());
                seen(&lives, &rules, pod.clone());
                follow(&pod, &client, &lives, &mut followed);
            }
            Ok(Some(Event::InitDone)) => gone_unseen(&lives, &listed),
            Ok(Some(Event::Delete(pod))) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                seen(&lives, &rules, pod);
                if let Some(life) = locked(&lives).get_mut(&uid) {
                    life.gone = Some(Instant::now());
                }
            }
            Err(_) => {}
            Ok(None) => return,
        }
    }
}

/// The pods that went while nobody watched: known from before, and not among those that there are.
fn gone_unseen(lives: &Lives, listed: &BTreeSet<String>) {
    let now = Instant::now();
    for (uid, life) in locked(lives).iter_mut() {
        if !listed.contains(uid) && life.gone.is_none() {
            life.deleted.get_or_insert(now);
            life.gone = Some(now);
        }
    }
}

fn seen(all: &Lives, rules: &Rules, pod: Pod) {
    let now = Instant::now();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let mut lives = locked(all);
    let life = lives.entry(uid.clone());
    let life = life.or_insert_with(|| Life::of(pod.clone()));
    if let Some(end) = &pod.metadata.deletion_timestamp {
        // At the very end it is set to the present.
        life.grace_ends.get_or_insert(end.0);
        if life.deleted.replace(life.deleted.unwrap_or(now)).is_none() {
            tokio::spawn(waits::follow(Life::of(pod.clone()), Arc::clone(all)));
            if let Some(address) = life.address {
                let follow = news::follow(uid, address, rules.clone(), Arc::clone(all));
                tokio::spawn(follow);
            }
        }
    }
    let ready = is_ready(&pod);
    if life.ready.last().is_none_or(|(_, last)| *last != ready) {
        life.ready.push((now, ready));
    }
    life.saw(pod);
}

/// Reads the log of the sidecar, each time when it was started.
fn follow(pod: &Pod, client: &Client, lives: &Lives, followed: &mut BTreeSet<String>) {
    let metadata = &pod.metadata;
    let (Some(container), Some(name), Some(namespace), Some(uid)) = (
        running_sidecar(pod),
        &metadata.name,
        &metadata.namespace,
        &metadata.uid,
    ) else {
        return;
    };
    if followed.insert(container.clone()) {
        if let Some(life) = locked(lives).get_mut(uid) {
            life.reading += 1;
        }
        let reader = Reader {
            pods: Api::namespaced(client.clone(), namespace),
            name: name.clone(),
            uid: uid.clone(),
            container,
            lives: Arc::clone(lives),
            read: 0,
        };
        tokio::spawn(reader.read_all());
    }
}

/// The id of a pod's sidecar, where that runs.
fn running_sidecar(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    let sidecar = all.find(|container| container.name == SIDECAR)?;
    let running = sidecar.state.as_ref()?.running.is_some();
    sidecar.container_id.clone().filter(|_| running)
}

/// Reads the log of one sidecar.
struct Reader {
    pods: Api<Pod>,
    name: String,
    uid: String,
    container: String,
    lives: Lives,
    /// So many lines were read.
    read: usize,
}

impl Reader {
    /// Reads it to its end. The stream may break off earlier, and even end as if that were all; it is begun
    /// anew for as long as the sidecar runs.
    async fn read_all(mut self) {
        loop {
            let outcome = self.read_on().await;
            if !self.still_runs() {
                if let Err(error) = outcome {
                    eprintln!(
                        "the log of {} was not read to its end: {error:#}",
                        self.name
                    );
                }
                break;
            }
            sleep(AGAIN).await;
        }
        if let Some(life) = locked(&self.lives).get_mut(&self.uid) {
            life.reading -= 1;
        }
    }

    /// Reads from where it was on.
    async fn read_on(&mut self) -> Result<()> {
        let parameters = LogParams {
            container: Some(SIDECAR.to_owned()),
            follow: true,
            ..LogParams::default()
        };
        let log = self.pods.log_stream(&self.name, &parameters).await?;
        let mut lines = log.lines();
        let mut number = 0;
        while let Some(line) = lines.try_next().await? {
            number += 1;
            if number > self.read {
                self.read = number;
                if let Some(life) = locked(&self.lives).get_mut(&self.uid) {
                    said(life, line);
                }
            }
        }
        Ok(())
    }

    /// Whether the sidecar runs, as far as was seen.
    fn still_runs(&self) -> bool {
        let lives = locked(&self.lives);
        let life = lives.get(&self.uid).filter(|life| life.gone.is_none());
        let running = life.and_then(|life| running_sidecar(&life.pod));
        running.as_deref() == Some(&self.container)
    }
}

fn said(life: &mut Life, line: String) {
    match moment(&line) {
        Some(at) if line.contains("drain asked for") => {
            life.asked.get_or_insert(at);
        }
        Some(at) if line.contains("drain over") => life.over = Some(at),
        _ => {}
    }
    life.log.push(line);
}

/// When a line was logged, by the time at its beginning.
fn moment(line: &str) -> Option<Instant> {
    instant(humantime::parse_rfc3339(line.split_whitespace().next()?).ok()?)
}
