//! The two servers, with a certificate of the benchmark's own.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tempfile::TempDir;

use crate::{
    cluster::{Authority, shipped_program},
    product,
};

/// A server that runs, until this is dropped.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    _directory: TempDir,
}

/// An attempt each 20 ms.
const START_ATTEMPTS: u32 = 500;

impl Server {
    /// drainhook as it is shipped: its log goes on, into nothing.
    pub(super) async fn drainhook() -> Result<Self> {
        let program = match std::env::var_os("DRAINHOOK_BIN") {
            Some(named) => PathBuf::from(named),
            None => shipped_program("drainhook")?,
        };
        Self::start(|directory, address| {
            let mut command = Command::new(&program);
            command.args([
                "serve",
                "--certs=files",
                "--cluster=off",
                "--kubernetes-version=1.33",
            ]);
            command.arg(format!("--cert={}", directory.join("tls.crt").display()));
            command.arg(format!("--key={}", directory.join("tls.key").display()));
            command.arg(format!("--bind={}", address.ip()));
            command
                .arg(format!("--port={}", address.port()))
                .arg("--plain-port=0");
            command
        })
        .await
    }

    /// The webhook of the usual kind, of `tests/bench/webhook`.
    pub(super) async fn go() -> Result<Self> {
        let source = product::workspace().join("tests/bench/webhook");
        let program = product::workspace().join("target/bench-webhook");
        let status = Command::new("go")
            .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
            .arg(&program)
            .arg(".")
            .env("CGO_ENABLED", "0")
            .current_dir(source)
            .status()
            .context("run go")?;
        ensure!(status.success(), "the Go webhook does not build");
        Self::start(|directory, address| {
            let mut command = Command::new(&program);
            command
                .arg(directory)
                .arg(address.ip().to_string())
                .arg(address.port().to_string());
            command
        })
        .await
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        self.tls.clone()
    }

    /// kB resident now.
    pub(super) fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most kB that were ever resident.
    pub(super) fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    async fn start(command: impl FnOnce(&Path, SocketAddr) -> Command) -> Result<Self> {
        let directory = TempDir::new()?;
        let authority = Authority::generate("bench")?;
        let identity = authority.server(&["drainhook.test"], &[])?;
        fs::write(directory.path().join("tls.crt"), identity.certificate)?;
        fs::write(directory.path().join("tls.key"), identity.key)?;
        // Free now; nobody else on this machine asks for ports by number.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = command(directory.path(), address)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the server")?;
        let server = Self {
            child,
            address,
            tls: trusting(&authority)?,
            _directory: directory,
        };
        for _ in 0..START_ATTEMPTS {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the server does not listen on {address}")
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let value = line.and_then(|line| line.split_whitespace().next());
        Ok(value
            .context("no such field in /proc/PID/status")?
            .parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing can be done where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn trusting(authority: &Authority) -> Result<Arc<ClientConfig>> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        authority.certificate().as_bytes(),
    )?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
