//! Registries: one that a cluster of ours may have, and how images get into any.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Forward, Image, Network, Version};
use crate::{process::Process, wait::until};

/// Its port in the network's first namespace, where nothing else has it.
const PORT: u16 = 5000;

/// A registry in a cluster's network. It ends with this value.
#[derive(Debug)]
pub struct Registry {
    host: String,
    inside: SocketAddr,
    _process: Process,
    _forward: Forward,
}

impl Registry {
    /// Starts it, with its files in this directory, and returns when it answers.
    pub(super) async fn start(network: &Network, directory: &Path) -> Result<Self> {
        let outside = TcpListener::bind("127.0.0.1:0").context("bind a port for the registry")?;
        let host = outside.local_addr()?.to_string();
        let inside = SocketAddr::new(network.gateway().into(), PORT);
        let crane = tokio::task::spawn_blocking(crane).await??;
        let files = directory.join("registry");
        fs::create_dir(&files).with_context(|| format!("make {}", files.display()))?;
        let mut command = network.namespace().command(crane);
        command.args(["registry", "serve", "--address", &inside.to_string()]);
        command.arg("--disk").arg(files);
        let log = directory.join("registry.log");
        let mut process = Process::spawn_tethered("registry", &command, &log)?;
        let dial = move || async move { TcpStream::connect(inside).await.ok().map(drop) };
        network
            .namespace()
            .run(move || until("the registry answers", dial))
            .await?
            .with_context(|| process.log_tail())?;
        ensure!(process.exited()?.is_none(), "{}", process.log_tail());
        Ok(Self {
            host,
            inside,
            _process: process,
            _forward: network.forward(outside, inside)?,
        })
    }

    /// `HOST:PORT`, with which images' names begin: reached at it from outside of the network, and known
    /// to the nodes by it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it is in the network.
    pub(super) fn inside(&self) -> SocketAddr {
        self.inside
    }
}

/// Pushes an image to a registry (`HOST[:PORT][/PATH]`) and returns it under the name that it has there. The
/// name ends with its digest: nodes may have another image of the same tag from an earlier run.
///
/// Whoever needs credentials has logged in before, as for `docker push`. TLS is left out for addresses of
/// this machine and of private networks, as Docker and its like do.
///
/// # Errors
/// When the registry does not take it.
pub fn push(image: &Image, registry: &str) -> Result<Image> {
    let name = image.reference().rsplit('/').next();
    let name = name.with_context(|| format!("{image:?} has no name"))?;
    let directory = TempDir::with_prefix("drainhook-push-").context("make a directory")?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(image.archive());
    run(tar.arg("--directory").arg(directory.path()))?;
    let mut crane = Command::new(crane()?);
    crane.arg("push").arg(directory.path());
    let said = run(crane.arg(format!("{registry}/{name}")))?;
    // Its last line is the name with the digest.
    let reference = said.lines().last().unwrap_or_default().trim();
    ensure!(
        reference.contains("@sha256:"),
        "crane push of {image:?} said no digest: {said}"
    );
    Ok(Image::at(reference, image.archive()))
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn crane() -> Result<PathBuf> {
    let [crane] = Version::Newest.programs(["crane"])?;
    Ok(crane)
}
