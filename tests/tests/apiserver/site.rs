//! What most of these tests begin with: a real API server in a network of its own, and the chart installed
//! in it, with replicas behind the Service that the API server itself finds.

use drainhook_tests::{
    cluster::{ApiServer, Network, Version},
    installation::{Installation, Replica},
};

use crate::admission::until_called;

/// Both ends of what is supported.
pub(crate) const BOTH: [Version; 2] = [Version::Newest, Version::Oldest];

/// Under `Fail`, so that a call that fails is a creation that fails.
pub(crate) const FAIL: &str = "webhook.failurePolicy=Fail";

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
}

impl Site {
    /// None, and a word about it, where nobody may make a network.
    pub(crate) async fn of(version: Version) -> Option<Self> {
        if !Network::available() {
            return None;
        }
        let network = Network::create().unwrap();
        let options = ApiServer::options().version(version).network(&network);
        let server = options.start().await.unwrap();
        Some(Self { server, network })
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The chart with these values, and nobody behind its Service.
    pub(crate) async fn install(&self, values: &[&str]) -> Installed<'_> {
        let installation = Installation::apply(&self.server, &self.network, values)
            .await
            .unwrap();
        let installed = Installed {
            server: &self.server,
            installation,
            replicas: Vec::new(),
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
}
