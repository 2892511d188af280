//! What most of these tests begin with: a real API server in a network of its own, and the chart installed
//! in it, with replicas behind the Service that the API server itself finds.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use drainhook_tests::{
    cluster::{ApiServer, Authority, Network, Options, Version},
    installation::{Installation, Replica},
    wait::until,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::admission::{envoy_pod, opted_in, pods, until_called};

/// Both ends of what is supported.
pub(crate) const BOTH: [Version; 2] = [Version::Newest, Version::Oldest];

/// Under `Fail`, so that a call that fails is a creation that fails.
pub(crate) const FAIL: &str = "webhook.failurePolicy=Fail";

/// What every installation here has: a call is not given up while the machine stands still for a moment.
const PATIENT: [&str; 2] = [
    "webhook.timeoutSeconds=30",
    "webhook.warn.timeoutSeconds=30",
];

/// An API server that reaches webhooks as Services.
pub(crate) struct Site {
    pub(crate) server: ApiServer,
    network: Network,
}

/// An installation on a site, and its replicas.
pub(crate) struct Installed<'s> {
    pub(crate) server: &'s ApiServer,
    pub(crate) installation: Installation<'s>,
    pub(crate) replicas: Vec<Replica>,
    /// Those that were told to end.
    pub(crate) leaving: Vec<Replica>,
    /// How often the API server was made to connect anew.
    renewals: usize,
}

impl Site {
    /// None, and a word about it, where nobody may make a network.
    pub(crate) async fn of(version: Version) -> Option<Self> {
        Self::with(ApiServer::options().version(version)).await
    }

    /// The same with an API server that is started so.
    pub(crate) async fn with(options: Options) -> Option<Self> {
        if !Network::available() {
            return None;
        }
        let network = Network::create().unwrap();
        let server = options.network(&network).start().await.unwrap();
        Some(Self { server, network })
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The chart with these values, and nobody behind its Service.
    pub(crate) async fn install(&self, values: &[&str]) -> Installed<'_> {
        let values = [&PATIENT, values].concat();
        let installation = Installation::apply(&self.server, &self.network, &values)
            .await
            .unwrap();
        let installed = Installed {
            server: &self.server,
            installation,
            replicas: Vec::new(),
            leaving: Vec::new(),
            renewals: 0,
        };
        installed.publish().await;
        installed
    }

    /// The same with so many replicas, which the API server calls when this returns.
    pub(crate) async fn serve(&self, values: &[&str], replicas: usize) -> Installed<'_> {
        let mut installed = self.install(values).await;
        for _ in 0..replicas {
            let replica = installed.installation.replica().await.unwrap();
            installed.replicas.push(replica);
        }
        installed.publish().await;
        until_called(&self.server).await;
        installed
    }
}

impl Installed<'_> {
    /// Makes the replicas the endpoints of the Service.
    pub(crate) async fn publish(&self) {
        self.publish_with(&[]).await;
    }

    /// The same with some more.
    pub(crate) async fn publish_with(&self, others: &[&Replica]) {
        let all: Vec<_> = self.replicas.iter().chain(others.iter().copied()).collect();
        self.installation.publish(&all).await.unwrap();
    }

    /// Lets the API server drop the connections that it has, which it keeps for as long as it trusts the same
    /// bundle. It has dropped them when this returns, however long it took to learn of that: it has
    /// trusted a bundle by which every new connection fails, and then one by which they succeed.
    ///
    /// Nothing else may be created meanwhile.
    pub(crate) async fn connect_anew(&mut self) {
        self.renewals += 1;
        let nobody = Authority::generate("nobody").unwrap().certificate();
        self.installation.trust(&nobody).await.unwrap();
        until("a call that fails by the bundle", async || {
            let failure = self.probe().await.err()?.to_string();
            failure.contains("x509").then_some(())
        })
        .await
        .unwrap();
        // Another text each time: connections made by the same bundle would be there again.
        let ours = self.server.authority().certificate();
        let bundle = ours.repeat(self.renewals + 1);
        self.installation.trust(&bundle).await.unwrap();
        until("a call over a new connection", async || {
            self.probe().await.ok()
        })
        .await
        .unwrap();
    }

    /// A pod that is only tried: the webhook is called for it all the same.
    pub(crate) async fn probe(&self) -> kube::Result<()> {
        let pod = envoy_pod("probe", opted_in());
        let pods = pods(self.server, "default");
        pods.create(&dry_run(), &pod).await.map(drop)
    }
}

/// Returns when the API server goes by all registrations as they were when this was called. It acknowledges
/// nothing, but it learns of them in the order in which they are written: once it goes by one more, whose
/// webhook nobody answers for, it knows the others.
pub(crate) async fn until_learned(server: &ApiServer) {
    static MARKS: AtomicUsize = AtomicUsize::new(0);
    let mark = json!({ "mark": MARKS.fetch_add(1, Relaxed).to_string() });
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "mark" },
        "webhooks": [{
            "name": "mark.drainhook.io",
            "clientConfig": { "url": "https://127.0.0.1:1/" },
            "rules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps"],
            }],
            "objectSelector": { "matchLabels": mark },
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    });
    server.apply(&configuration).await.unwrap();
    let marked = json!({ "metadata": { "name": "marked", "labels": mark } });
    let marked: ConfigMap = serde_json::from_value(marked).unwrap();
    let maps = Api::default_namespaced(server.client());
    until("a call by the last registration", async || {
        let refused = maps.create(&dry_run(), &marked).await.err()?.to_string();
        refused.contains("mark.drainhook.io").then_some(())
    })
    .await
    .unwrap();
}

fn dry_run() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}
