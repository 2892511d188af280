//! What most tests stand on: one Envoy, what is behind it, and one sidecar beside it, as in a pod,
//! on an address of their own.

use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use drainhook_tests::{
    address::Loopback,
    admin_proxy::AdminProxy,
    bootstrap::{Bootstrap, Identity, Listener},
    client::{HOST, Http1, Reply},
    envoy::{Admin, Binary, Envoy, Start, Wanted},
    sidecar::{self, Answer, Hook, Sidecar},
    upstream::Upstream,
    wait::until,
};
use tempfile::TempDir;

/// Where the admin interface is.
const ADMIN: u16 = 9901;
/// Where the sidecar serves.
const SIDECAR: u16 = 8090;
/// The listener `web`: HTTP/1.1, HTTP/2, websockets, CONNECT.
pub(crate) const WEB: u16 = 8080;
/// The listener `bytes`: TCP.
pub(crate) const BYTES: u16 = 8081;
/// The listener `quic`: HTTP/3.
pub(crate) const QUIC: u16 = 8443;
/// For a listener that a test adds.
pub(crate) const OTHER: u16 = 8082;

/// Long enough for a drain to end that waits for nothing, with [`SHORT`] as its settings. Only ever
/// used to see that a drain does *not* end: a slow machine makes such a test weaker and never red.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_millis(2_500);

/// Settings under which a drain that waits for nothing takes about half a second. The network is
/// shared with all other tests, as on a node, so connections must not be counted in `/proc`.
const SHORT: [(&str, &str); 4] = [
    ("--min-drain", "300ms"),
    ("--quiet", "300ms"),
    ("--idle-quiet", "200ms"),
    ("--host-network", "true"),
];

/// A stage in the making.
pub(crate) struct Setting {
    wanted: Option<&'static str>,
    address: Loopback,
    upstream: Upstream,
    identity: Identity,
    bootstrap: Bootstrap,
    directory: TempDir,
    socket: bool,
    admin: Option<SocketAddr>,
    proxied: bool,
    initializing: bool,
    envoy_arguments: Vec<&'static str>,
    flags: Vec<(String, String)>,
    token: Option<&'static str>,
}

impl Setting {
    /// Envoy with the listeners `web`, `bytes` and `quic`.
    pub(crate) async fn new() -> Result<Self> {
        let setting = Self::bare().await?;
        let web = Listener::http("web", setting.at(WEB), "upstream");
        let bytes = Listener::tcp("bytes", setting.at(BYTES), "tunnel");
        let quic = Listener::http3("quic", setting.at(QUIC), "upstream", &setting.identity);
        Ok(setting.listener(web).listener(bytes).listener(quic))
    }

    /// Envoy without listeners. There are the clusters `upstream` and, for bytes, `tunnel`.
    pub(crate) async fn bare() -> Result<Self> {
        let address = Loopback::claim()?;
        let upstream = Upstream::start().await?;
        let bootstrap = Bootstrap::new()
            .cluster("upstream", upstream.http())
            .cluster("tunnel", upstream.tcp());
        let flags = SHORT
            .iter()
            .map(|(flag, value)| (flag.to_string(), value.to_string()));
        Ok(Self {
            wanted: None,
            address,
            upstream,
            identity: Identity::new(HOST)?,
            bootstrap,
            directory: TempDir::with_prefix("drainhook-stage-")?,
            socket: false,
            admin: None,
            proxied: false,
            initializing: false,
            envoy_arguments: Vec::new(),
            flags: flags.collect(),
            token: None,
        })
    }

    /// A port of this stage's address.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        self.address.port(port)
    }

    /// A path of this stage's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// This release of Envoy instead of the usual one.
    pub(crate) fn release(mut self, release: &'static str) -> Self {
        self.wanted = Some(release);
        self
    }

    pub(crate) fn listener(mut self, listener: Listener) -> Self {
        self.bootstrap = self.bootstrap.listener(listener);
        self
    }

    pub(crate) fn change(mut self, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Self {
        self.bootstrap = change(self.bootstrap);
        self
    }

    pub(crate) fn envoy_argument(mut self, argument: &'static str) -> Self {
        self.envoy_arguments.push(argument);
        self
    }

    /// The admin interface is a unix socket.
    pub(crate) fn admin_socket(mut self) -> Self {
        self.socket = true;
        self
    }

    /// The admin interface is at this address, which is not the stage's own.
    pub(crate) fn admin_at(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// The sidecar reaches the admin interface through a proxy, [`Stage::proxy`].
    pub(crate) fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Envoy is started, but nobody waits until it serves.
    pub(crate) fn initializing(mut self) -> Self {
        self.initializing = true;
        self
    }

    /// A flag of the sidecar. The last one of a name counts.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.retain(|(set, _)| set != name);
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    /// Starts all of it and waits until it serves.
    pub(crate) async fn start(self) -> Result<Stage> {
        let bootstrap = if self.socket {
            self.bootstrap
                .clone()
                .admin_socket(&self.path("admin.sock"))
        } else {
            self.bootstrap
                .clone()
                .admin(self.admin.unwrap_or(self.at(ADMIN)))
        };
        let wanted = self.wanted.map_or(Wanted::Usual, Wanted::Release);
        // Found or fetched without keeping the runtime from its other work.
        let binary = tokio::task::spawn_blocking(move || Binary::find(wanted)).await??;
        let mut start = Start::new(&binary).bootstrap(bootstrap.value());
        for argument in &self.envoy_arguments {
            start = start.argument(argument);
        }
        let mut envoy = start.spawn()?;
        let admin = envoy.admin()?.clone();
        if self.initializing {
            until("an admin interface", async || {
                admin.get("/server_info").await.ok()
            })
            .await?;
        } else {
            envoy.serving().await?;
        }
        let proxy = if self.proxied {
            Some(AdminProxy::start(&admin).await?)
        } else {
            None
        };
        let at = proxy
            .as_ref()
            .map_or(admin.clone(), |proxy| Admin::Tcp(proxy.address()));

        let log = self.path("termination-log");
        let mut sidecar = sidecar::Start::at(self.at(SIDECAR))
            .flag("--termination-log", &log)
            .flag("--log-level", "debug")
            .flag("--admin", at.to_string());
        for (name, value) in &self.flags {
            sidecar = sidecar.flag(name, value);
        }
        if let Some(token) = self.token {
            sidecar = sidecar.token(token);
        }
        let sidecar = sidecar.run().await?;
        Ok(Stage {
            setting: self,
            envoy,
            admin,
            proxy,
            sidecar,
        })
    }
}

/// One Envoy and its sidecar, running.
pub(crate) struct Stage {
    // Dropped in this order: the log of the sidecar comes first in a failing test's output.
    pub(crate) sidecar: Sidecar,
    pub(crate) envoy: Envoy,
    pub(crate) admin: Admin,
    proxy: Option<AdminProxy>,
    setting: Setting,
}

impl Stage {
    /// As [`Setting::new`], with these flags of the sidecar.
    pub(crate) async fn with(flags: &[(&str, &str)]) -> Result<Self> {
        let mut setting = Setting::new().await?;
        for (name, value) in flags {
            setting = setting.flag(name, value);
        }
        setting.start().await
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        self.setting.at(port)
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.setting.upstream
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.setting.identity
    }

    pub(crate) fn sidecar_address(&self) -> SocketAddr {
        self.at(SIDECAR)
    }

    /// Where the admin interface is, of a stage whose admin interface has an address.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.at(ADMIN)
    }

    /// The proxy before the admin interface, of a stage that was [`Setting::proxied`].
    pub(crate) fn proxy(&self) -> &AdminProxy {
        self.proxy.as_ref().expect("this stage has no proxy")
    }

    /// What was done to Envoy, of a stage that was [`Setting::proxied`]: the POST requests, but for those which
    /// the sidecar has given up and sent again, as it does where this process, and the proxy with it, is held up.
    pub(crate) fn posts(&self) -> Vec<String> {
        let mut posts = self.proxy().posts();
        let log = self.sidecar.log();
        let mut given_up = log.matches(" did not answer /").count();
        posts.dedup_by(|again, before| {
            let repeated = again == before && given_up > 0;
            given_up -= usize::from(repeated);
            repeated
        });
        posts
    }

    /// The termination message; empty where none was written.
    pub(crate) fn termination_message(&self) -> String {
        std::fs::read_to_string(self.setting.path("termination-log")).unwrap_or_default()
    }

    /// One request over a new connection.
    pub(crate) async fn get(&self, path: &str) -> Result<Reply> {
        Http1::connect(self.at(WEB)).await?.get(path).await
    }

    /// Starts a drain, as the kubelet would.
    pub(crate) async fn hook(&self) -> Result<Hook> {
        self.sidecar.hook("/shutdown").await
    }

    /// Starts a drain and waits until Envoy was told.
    pub(crate) async fn hook_told(&self) -> Result<Hook> {
        let hook = self.hook().await?;
        self.told().await?;
        Ok(hook)
    }

    /// Waits until Envoy fails its health check.
    pub(crate) async fn told(&self) -> Result<()> {
        until("Envoy was told", async || {
            (self.ready().await.ok()? == 503).then_some(())
        })
        .await
    }

    /// What Envoy answers to `/ready`: 200, or 503 once its health check fails.
    pub(crate) async fn ready(&self) -> Result<u16> {
        Ok(self.admin.get("/ready").await?.status)
    }

    /// Starts a drain that nothing may hold up any more, and takes its answer.
    pub(crate) async fn drain(&self) -> Result<Answer> {
        self.sidecar.drain().await
    }
}

/// A port that is free on all addresses, for what cannot have an address of its own. Below the kernel's range
/// for outgoing connections (32768-60999), none of which can take it before it is used.
pub(crate) fn free_port() -> Result<u16> {
    let mut some = (0..1_000).map(|_| fastrand::u16(20_000..30_000));
    let is_free = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok();
    some.find(is_free).context("no port is free")
}

/// Sees that a hook is not answered for longer than a drain takes that waits for nothing.
pub(crate) async fn holds(hook: &Hook) {
    tokio::time::sleep(LONG_ENOUGH).await;
    assert!(
        !hook.is_finished(),
        "the drain ended, although something was still open"
    );
}
