//! What the server asks of the cluster: the namespaces' labels and annotations, and the version.
//!
//! Both are kept as they were last known. The server answers without them: then a namespace's
//! defaults are those of the installation, and `mode: auto` is the one that works everywhere.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use super::{error::NoCluster, metrics::Metrics};
use crate::{KubernetesVersion, Namespace, annotations::PREFIX};

/// What is known of the cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    namespaces: RwLock<HashMap<String, Arc<Namespace>>>,
    synced: AtomicBool,
    /// Whether a list is complete that no later one is about to replace.
    listed: AtomicBool,
    /// When the watch broke, unless something came by it since then.
    broke: Mutex<Option<Instant>>,
    version: RwLock<Option<KubernetesVersion>>,
    off: OnceLock<NoCluster>,
    metrics: Arc<Metrics>,
}

/// Objects per page of a list: a page of a large cluster's namespaces is below a megabyte.
const PAGE: u32 = 100;

/// For how long a watch that broke is taken to be broken. Where nothing changes, nothing tells that it
/// goes on again but that it does not break again. An attempt that fails says so after the client's
/// 30 s for a connection at most; the pause before the next one grows to 30 s, to which chance adds as much
/// again. Twice those 90 s, so that a long outage is one. A peer that takes the connection and then says
/// nothing breaks nothing, and is taken for a cluster in which nothing changes.
const BROKEN: Duration = Duration::from_secs(180);

/// An upgrade of the control plane takes minutes.
const VERSION_INTERVAL: Duration = Duration::from_secs(300);

/// Until the version is known for the first time.
const VERSION_RETRY: Duration = Duration::from_secs(5);

impl Cluster {
    /// Of which nothing is known yet.
    pub(super) fn new(version: Option<KubernetesVersion>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            namespaces: RwLock::default(),
            synced: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            broke: Mutex::default(),
            version: RwLock::new(version),
            off: OnceLock::new(),
            metrics,
        })
    }

    /// Nothing will ever be asked, for this reason.
    pub(super) fn switch_off(&self, reason: impl Into<NoCluster>) {
        self.off.get_or_init(|| reason.into());
    }

    /// A namespace with a label or annotation that matters here.
    pub(super) fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(super) fn version(&self) -> Option<KubernetesVersion> {
        *self.version.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the namespaces were listed once, or never will be.
    pub(super) fn synced(&self) -> bool {
        self.synced.load(Relaxed) || self.off.get().is_some()
    }

    /// Whether what is known of the namespaces is what there is.
    pub(super) fn up_to_date(&self) -> bool {
        let broke = *self.broke.lock().unwrap_or_else(PoisonError::into_inner);
        self.listed.load(Relaxed) && broke.is_none_or(|broke| broke.elapsed() > BROKEN)
    }

    /// For `/readyz?verbose`.
    pub(super) fn detail(&self) -> String {
        match self.off.get() {
            Some(reason) => format!("off: {reason}"),
            None if self.synced() => {
                let known = self
                    .namespaces
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .len();
                format!("{known} namespaces with settings")
            }
            None => "not listed yet".to_owned(),
        }
    }

    /// Keeps itself up to date for ever. It would return where a part of that ended.
    pub(super) async fn watch(self: Arc<Self>, client: Client, ask_version: bool) {
        let namespaces = self.watch_namespaces(client.clone());
        if ask_version {
            tokio::select! {
                () = namespaces => {}
                () = self.watch_version(client) => {}
            }
        } else {
            namespaces.await;
        }
    }

    async fn watch_namespaces(&self, client: Client) {
        // Metadata is all that is asked for: no status, no spec.
        let api = Api::<PartialObjectMeta<NamespaceObject>>::all(client);
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = pin!(watcher(api, config).default_backoff());
        let mut listed = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut listed),
                Err(error) => self.broke(&error),
            }
        }
    }

    fn broke(&self, error: &watcher::Error) {
        *self.broke.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.metrics.namespace_watch_faults.inc();
        tracing::warn!(
            %error,
            "the watch of the namespaces broke; what was known last is used on"
        );
    }

    fn take(
        &self,
        event: Event<PartialObjectMeta<NamespaceObject>>,
        listed: &mut HashMap<String, Arc<Namespace>>,
    ) {
        let known = || {
            self.namespaces
                .write()
                .unwrap_or_else(PoisonError::into_inner)
        };
        match event {
            Event::Init => {
                self.listed.store(false, Relaxed);
                listed.clear();
                return;
            }
            Event::InitApply(object) => {
                listed
                    .extend(relevant(object).map(|namespace| (namespace.name.clone(), namespace)));
                return;
            }
            Event::InitDone => {
                *known() = std::mem::take(listed);
                self.listed.store(true, Relaxed);
                if !self.synced.swap(true, Relaxed) {
                    tracing::info!(with_settings = known().len(), "namespaces listed");
                }
            }
            Event::Apply(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                match relevant(object) {
                    Some(namespace) => known().insert(name, namespace),
                    None => known().remove(&name),
                };
            }
            Event::Delete(object) => {
                known().remove(&object.metadata.name.unwrap_or_default());
            }
        }
        *self.broke.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn watch_version(&self, client: Client) {
        loop {
            let version = match client.apiserver_version().await {
                Ok(info) => format!("{}.{}", info.major, info.minor).parse().ok(),
                Err(error) => {
                    tracing::warn!(%error, "cannot ask the API server for its version");
                    None
                }
            };
            if let Some(version) = version {
                let mut known = self.version.write().unwrap_or_else(PoisonError::into_inner);
                if known.replace(version) != Some(version) {
                    tracing::info!(%version, "the API server's version");
                }
            }
            let known = self.version().is_some();
            tokio::time::sleep(if known {
                VERSION_INTERVAL
            } else {
                VERSION_RETRY
            })
            .await;
        }
    }
}

/// What the decision asks of a namespace, and nothing else of it: most namespaces have none of that
/// and are not kept at all.
fn relevant(object: PartialObjectMeta<NamespaceObject>) -> Option<Arc<Namespace>> {
    let ours = |entries: Option<BTreeMap<String, String>>| -> BTreeMap<_, _> {
        let matters =
            |key: &str| key.starts_with(PREFIX) || key.starts_with("openshift.io/sa.scc.");
        entries
            .into_iter()
            .flatten()
            .filter(|(key, _)| matters(key))
            .collect()
    };
    let labels = ours(object.metadata.labels);
    let annotations = ours(object.metadata.annotations);
    let name = object.metadata.name?;
    if labels.is_empty() && annotations.is_empty() {
        return None;
    }
    Some(Arc::new(Namespace {
        name,
        labels,
        annotations,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::ObjectMeta;

    fn object(name: &str, labels: &[(&str, &str)]) -> PartialObjectMeta<NamespaceObject> {
        let labels = labels
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some(labels.collect()),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    /// Of the client, unless told.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

    /// Between attempts of the watch, with all that chance may add.
    const LONGEST_PAUSE: Duration = Duration::from_secs(60);

    const OURS: (&str, &str) = ("drainhook.io/inject", "enabled");

    #[test]
    fn only_namespaces_that_matter_are_kept_and_only_what_matters_of_them() {
        let cluster = Cluster::new(None, Metrics::new());
        let mut listed = HashMap::new();
        cluster.take(Event::Init, &mut listed);
        cluster.take(
            Event::InitApply(object("plain", &[("team", "a")])),
            &mut listed,
        );
        cluster.take(
            Event::InitApply(object("ours", &[("team", "a"), OURS])),
            &mut listed,
        );
        assert!(!cluster.synced());
        cluster.take(Event::InitDone, &mut listed);
        assert!(cluster.synced());
        assert!(cluster.namespace("plain").is_none());
        let ours = cluster.namespace("ours").unwrap();
        assert!(ours.opts_in());
        assert_eq!(ours.labels.len(), 1);
    }

    #[test]
    fn changes_are_followed_and_a_list_replaces_everything() {
        let cluster = Cluster::new(None, Metrics::new());
        let mut listed = HashMap::new();
        cluster.take(Event::Apply(object("a", &[OURS])), &mut listed);
        cluster.take(Event::Apply(object("b", &[OURS])), &mut listed);
        cluster.take(Event::Apply(object("a", &[])), &mut listed);
        assert!(cluster.namespace("a").is_none());
        assert!(cluster.namespace("b").is_some());

        cluster.take(Event::Init, &mut listed);
        cluster.take(Event::InitApply(object("c", &[OURS])), &mut listed);
        assert!(
            cluster.namespace("b").is_some(),
            "the last known state until the list is done"
        );
        cluster.take(Event::InitDone, &mut listed);
        assert!(cluster.namespace("b").is_none());
        cluster.take(Event::Delete(object("c", &[OURS])), &mut listed);
        assert!(cluster.namespace("c").is_none());
    }

    #[test]
    fn what_is_known_is_up_to_date_until_the_watch_breaks_and_once_it_goes_on_again() {
        let cluster = Cluster::new(None, Metrics::new());
        let take = |event| cluster.take(event, &mut HashMap::new());
        assert!(!cluster.up_to_date());
        take(Event::Init);
        take(Event::InitDone);
        assert!(cluster.up_to_date());

        cluster.broke(&watcher::Error::NoResourceVersion);
        assert!(!cluster.up_to_date() && cluster.synced());
        take(Event::Apply(object("a", &[])));
        assert!(cluster.up_to_date(), "a change came");

        cluster.broke(&watcher::Error::NoResourceVersion);
        let next_attempt_fails = LONGEST_PAUSE + CONNECT_TIMEOUT;
        *cluster.broke.lock().unwrap() = Instant::now().checked_sub(next_attempt_fails);
        assert!(
            !cluster.up_to_date(),
            "an outage does not end between attempts"
        );
        *cluster.broke.lock().unwrap() = Instant::now().checked_sub(2 * BROKEN);
        assert!(cluster.up_to_date(), "nothing changes, and nothing broke");

        take(Event::Init);
        assert!(!cluster.up_to_date(), "the list is not complete");
        take(Event::InitDone);
        assert!(cluster.up_to_date());
        assert_eq!(cluster.metrics.namespace_watch_faults.get(), 2);
    }

    #[test]
    fn a_namespace_is_known_as_it_was_last_while_the_watch_is_broken() {
        let cluster = Cluster::new(None, Metrics::new());
        let mut listed = HashMap::new();
        cluster.take(Event::Init, &mut listed);
        cluster.take(Event::InitApply(object("a", &[OURS])), &mut listed);
        cluster.take(Event::InitDone, &mut listed);
        let still_known = || cluster.namespace("a").is_some_and(|known| known.opts_in());

        cluster.broke(&watcher::Error::NoResourceVersion);
        assert!(still_known(), "the watch broke");
        cluster.take(Event::Init, &mut listed);
        cluster.broke(&watcher::Error::NoResourceVersion);
        assert!(still_known(), "it broke again while it listed anew");
        assert!(!cluster.up_to_date() && cluster.synced());

        cluster.take(Event::Init, &mut listed);
        cluster.take(Event::InitDone, &mut listed);
        assert!(!still_known(), "the namespace has gone meanwhile");
    }

    #[test]
    fn without_a_cluster_there_is_nothing_to_wait_for() {
        let cluster = Cluster::new(None, Metrics::new());
        cluster.switch_off("no cluster");
        assert!(cluster.synced());
        assert_eq!(cluster.detail(), "off: no cluster");
    }
}
