//! A real API server, with etcd and a few controllers.

use std::{
    net::{SocketAddr, TcpListener},
    ops::Deref,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};

use super::{
    Access, AuditLog, Authority, Credential, Metrics, Network, Version,
    access::client,
    control_plane::{Address, ControlPlane},
    network::Forward,
    residue::Residue,
};
use crate::address::Loopback;

/// The port of the API server, on an address of its own.
pub(super) const PORT: u16 = 6443;

/// How long a start may take before it counts as failed: it takes three seconds on an idle machine,
/// and many times that while several of them start at once, and builds besides, on two cores.
const START_BOUND: Duration = Duration::from_secs(600);
const START_POLL: Duration = Duration::from_millis(50);

/// The controllers that run where nothing else is asked for: what makes pods out of workloads, and
/// what a namespace needs to take pods. Pods never run: there is no node.
const CONTROLLERS: &[&str] = &[
    "deployment",
    "replicaset",
    "statefulset",
    "job",
    "garbagecollector",
    "namespace",
    "serviceaccount",
    "root-ca-cert-publisher",
];

/// How an [`ApiServer`] is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) version: Version,
    pub(super) controllers: Vec<String>,
    pub(super) scheduler: bool,
    pub(super) network: Option<Network>,
    pub(super) webhook_client: Option<String>,
    pub(super) arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::default(),
            controllers: CONTROLLERS.iter().map(ToString::to_string).collect(),
            scheduler: false,
            network: None,
            webhook_client: None,
            arguments: Vec::new(),
        }
    }
}

impl Options {
    /// Which version of Kubernetes.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Which controllers run, by their names of `kube-controller-manager --controllers`; none where
    /// the list is empty, and then a namespace has no service account by itself.
    #[must_use]
    pub fn controllers(mut self, controllers: &[&str]) -> Self {
        self.controllers = controllers.iter().map(ToString::to_string).collect();
        self
    }

    /// Runs in a network of its own, so that webhooks can be reached as a Service.
    #[must_use]
    pub fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Runs kube-scheduler too: there are nodes.
    #[must_use]
    pub(super) fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// Lets the API server show a client certificate of this name, signed by the cluster's
    /// authority, to every webhook. By default it shows none, as on most clusters.
    #[must_use]
    pub fn webhook_client(mut self, name: &str) -> Self {
        self.webhook_client = Some(name.to_owned());
        self
    }

    /// An argument more for kube-apiserver, such as `--feature-gates=...`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it, and returns when it is ready and pods can be created in namespace `default`.
    ///
    /// # Errors
    /// When a program cannot be built or started, with the end of its log.
    pub async fn start(self) -> Result<ApiServer> {
        ApiServer::start_with(self).await
    }
}

/// A running API server. Dropping it ends everything that it started, and so does the end of the
/// test process. When a test fails while one is alive, the end of its logs is shown.
#[derive(Debug)]
pub struct ApiServer {
    version: Version,
    access: Access,
    _forward: Option<Forward>,
    control_plane: ControlPlane,
    directory: Residue,
    // The address stays claimed until everything on it has ended.
    _claim: Option<Loopback>,
}

impl ApiServer {
    /// Starts one of the newest version on the loopback interface, with the usual controllers.
    ///
    /// # Errors
    /// As [`Options::start`].
    pub async fn start() -> Result<Self> {
        Options::default().start().await
    }

    /// To choose what is started.
    pub fn options() -> Options {
        Options::default()
    }

    async fn start_with(options: Options) -> Result<Self> {
        let directory = Residue::create("apiserver")?;
        let claim = Loopback::claim()?;
        let (address, forward) = match &options.network {
            None => (Address::loopback(claim.ip()), None),
            Some(network) => {
                let inside = SocketAddr::from((network.gateway(), PORT));
                let listener = TcpListener::bind(claim.port(PORT)).context("bind the forwarder")?;
                let forward = network.forward(listener, inside)?;
                (Address::forwarded(claim.ip(), network), Some(forward))
            }
        };
        let control_plane = ControlPlane::start(&directory, address, &options).await?;
        let credential = control_plane.administrator()?;
        let config = control_plane
            .authority()
            .kubeconfig(&control_plane.url(), &credential);
        let kubeconfig = directory.file("kubeconfig", &config)?;
        let mut server = Self {
            version: options.version,
            access: Access::by(kubeconfig).await?,
            _forward: forward,
            control_plane,
            directory,
            _claim: Some(claim),
        };
        server.until_ready().await?;
        server
            .control_plane
            .start_controllers(&server.directory, &options)
            .await?;
        if !options.controllers.is_empty() {
            server.access.until_default_account("default").await?;
        }
        Ok(server)
    }

    /// Where it is reached from here.
    pub fn url(&self) -> String {
        self.control_plane.url()
    }

    /// The cluster's certificate authority.
    pub fn authority(&self) -> &Authority {
        self.control_plane.authority()
    }

    /// A kubeconfig for `credential`. Inside of a [`Network`], `inside` says whether it is for
    /// processes there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig_for(&self, name: &str, credential: &Credential) -> Result<PathBuf> {
        let config = self
            .authority()
            .kubeconfig(&self.control_plane.inner_url(), credential);
        self.directory.file(&format!("kubeconfig-{name}"), config)
    }

    /// A client for `credential`.
    ///
    /// # Errors
    /// When the credential is not one.
    pub async fn client_for(&self, credential: &Credential) -> Result<Client> {
        client(&self.authority().kubeconfig(&self.url(), credential)).await
    }

    /// The credential of a user, by client certificate; what it may do is up to RBAC.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<Credential> {
        Ok(Credential::Certificate(self.authority().user(name, group)?))
    }

    /// The credential of a service account: a token of one hour, as the kubelet would mount it. The
    /// account must exist; what it may do is up to RBAC.
    ///
    /// # Errors
    /// When the API server gives no token.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Credential> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = accounts
            .create_token_request(name, &Default::default(), &Default::default())
            .await
            .with_context(|| format!("ask for a token of service account {namespace}/{name}"))?;
        let status = request
            .status
            .context("the token request came back without a token")?;
        Ok(Credential::Token(status.token))
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn metrics(&self) -> Result<Metrics> {
        let request = hyper::Request::get("/metrics").body(Vec::new())?;
        let text = self
            .client()
            .request_text(request)
            .await
            .context("read the metrics")?;
        Ok(Metrics::parse(&text))
    }

    /// Its audit log.
    pub fn audit(&self) -> &AuditLog {
        self.control_plane.audit()
    }

    /// Its processes, to be paused and killed.
    pub fn control_plane(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }

    /// Where it is reached from inside of its network, where it has one.
    pub fn inner_url(&self) -> String {
        self.control_plane.inner_url()
    }

    /// A new directory for what goes with it, and is removed when it ends.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// The directory that goes with it.
    pub(super) fn directory(&self) -> &Residue {
        &self.directory
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    async fn until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.control_plane.check()?;
            let fault = match self.ready().await {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            if begun.elapsed() > START_BOUND {
                let logs = self.control_plane.log_tails();
                bail!("the API server is not ready after {START_BOUND:?}: {fault:#}\n{logs}");
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    async fn ready(&self) -> Result<()> {
        let request = hyper::Request::get("/readyz").body(Vec::new())?;
        self.client()
            .request_text(request)
            .await
            .context("ask /readyz")?;
        Ok(())
    }
}

/// What an administrator does with any cluster: a client, `kubectl`, `apply`.
impl Deref for ApiServer {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}
