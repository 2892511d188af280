//! Pods as processes: the containers of a pod specification, run on one machine without a
//! container runtime.
//!
//! * Envoy containers run the real Envoy and drainhook's sidecar runs the real `shutdown-manager`,
//!   with the arguments, the environment and the volumes of the specification.
//! * Every other container is played by the tests' own [upstream](crate::load::Upstream) on the ports
//!   that Envoy calls inside of the pod, and ends at SIGTERM at once.
//! * Each pod has an address of its own in 127.0.0.0/8. What a container binds or calls as
//!   `0.0.0.0`, `127.0.0.1` or `localhost` is that address, and ports stay as they are. So loopback
//!   and pod address are one; nothing else of the specification is changed.
//! * What Envoy calls outside of its pod is played too, and outlives the pods.
//!
//! Images, users, resources, security contexts and network policies mean nothing here.

mod container;
mod envoy_config;
mod manifest;
mod outside;
mod spec;
mod start;
mod translate;
mod volumes;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub use container::Container;
pub use envoy_config::Surroundings;
pub use manifest::{Manifest, ManifestError, Workload, template_mut};
pub use outside::Outside;
pub use spec::{
    Container as ContainerSpec, Header, Hook, HttpGet, Lifecycle, PodSpec, Probe, Variable,
};
pub use translate::Translation;

use self::container::Running;
use self::start::Starting;
use crate::address::Loopback;
use crate::envoy::Binary;
use crate::load::Upstream;
use crate::wait::BOUND;

/// How often a container that is not ready yet is asked again.
const READY_POLL: Duration = Duration::from_millis(50);

/// The programs that stand behind images.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Envoy.
    pub envoy: Binary,
    /// drainhook's sidecar.
    pub shutdown_manager: PathBuf,
}

/// What pods of one manifest have in common.
#[derive(Debug)]
pub struct Blueprint {
    /// The manifest with its ConfigMaps.
    pub manifest: Manifest,
    /// The workload of which the pods are.
    pub workload: Workload,
    /// What is run.
    pub programs: Programs,
    /// What Envoy calls outside of its pods.
    pub outside: Arc<Outside>,
}

/// A pod that runs.
#[derive(Debug)]
pub struct Pod {
    name: String,
    loopback: Loopback,
    grace: Duration,
    containers: Vec<Container>,
    surroundings: Surroundings,
    _folder: TempDir,
}

impl Pod {
    /// Starts the containers of a pod in the order of Kubernetes: native sidecars, then the main
    /// containers. Init containers that end are left out. Does not wait until they are ready.
    ///
    /// # Errors
    /// Where the specification cannot be carried out, or a process does not start.
    pub async fn start(blueprint: &Blueprint, name: &str) -> Result<Self> {
        let loopback = Loopback::claim()?;
        let folder = TempDir::with_prefix("drainhook-pod-").context("make the pod's folder")?;
        let spec = &blueprint.workload.spec;
        let sidecars = spec
            .init_containers
            .iter()
            .filter(|container| container.is_sidecar());
        let starting = Starting {
            blueprint,
            name,
            address: loopback.ip(),
            root: folder.path(),
        };
        let mut surroundings = Surroundings::default();
        let mut containers = Vec::new();
        for (container, sidecar) in sidecars
            .map(|container| (container, true))
            .chain(spec.containers.iter().map(|container| (container, false)))
        {
            let prepared = starting
                .run(container, sidecar, &mut surroundings)
                .with_context(|| format!("container {} of pod {name}", container.name))?;
            containers.push(prepared);
        }
        blueprint.outside.play(&surroundings.outside).await?;
        play(&mut containers, &surroundings.inside).await?;
        let grace = spec.grace();
        let name = name.to_owned();
        Ok(Pod {
            name,
            loopback,
            grace,
            containers,
            surroundings,
            _folder: folder,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.loopback.ip()
    }

    /// How long it may take to end.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// What its Envoys listen on and call.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Its containers, native sidecars first.
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Its containers, to stop them.
    pub fn containers_mut(&mut self) -> &mut [Container] {
        &mut self.containers
    }

    /// Waits until every container with a readiness probe is ready and every listener of Envoy
    /// accepts connections.
    ///
    /// # Errors
    /// Where a process ends or is not ready in time, with the end of its log.
    pub async fn ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let Some(missing) = self.missing().await? else {
                return Ok(());
            };
            if begun.elapsed() > BOUND {
                bail!(
                    "pod {} is not ready: {missing}{}",
                    self.name,
                    self.log_tails()
                );
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// What is not ready yet.
    async fn missing(&mut self) -> Result<Option<String>> {
        let name = self.name.clone();
        for container in &mut self.containers {
            if let Some(status) = container.exited()? {
                bail!(
                    "container {} of pod {name} ended ({status}){}",
                    container.spec.name,
                    tail(container)
                );
            }
        }
        for listener in &self.surroundings.listeners {
            if tokio::net::TcpStream::connect(listener).await.is_err() {
                return Ok(Some(format!("nothing listens on {listener}")));
            }
        }
        for container in &self.containers {
            if container.is_played() {
                continue;
            }
            if let Some(probe) = &container.spec.readiness_probe
                && let Err(why) =
                    crate::kubelet::probe(self.address(), &container.spec, probe).await
            {
                return Ok(Some(format!("readiness of {}: {why}", container.spec.name)));
            }
        }
        Ok(None)
    }

    /// The last lines of every log, for messages.
    pub fn log_tails(&self) -> String {
        self.containers.iter().map(tail).collect()
    }
}

fn tail(container: &Container) -> String {
    /// Enough for what Envoy says about a configuration that it refuses.
    const LINES: usize = 8;

    let log = container.log();
    let skip = log.lines().count().saturating_sub(LINES);
    let lines: String = log
        .lines()
        .skip(skip)
        .map(|line| format!("\n    {line}"))
        .collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\n  {} wrote:{lines}", container.spec.name)
    }
}

/// Gives every address that Envoy calls inside of its pod to the container that is there.
async fn play(containers: &mut [Container], inside: &BTreeSet<SocketAddr>) -> Result<()> {
    for address in inside {
        let names = |container: &Container| {
            container
                .spec
                .ports
                .iter()
                .any(|port| port.container_port == address.port())
        };
        let at = containers
            .iter()
            .position(|container| container.is_played() && names(container))
            .or_else(|| containers.iter().position(Container::is_played));
        let Some(container) = at.and_then(|at| containers.get_mut(at)) else {
            bail!("Envoy calls {address} inside of its pod, and no container is there to answer");
        };
        let upstream = Upstream::start(*address)
            .await
            .with_context(|| format!("play {} on {address}", container.spec.name))?;
        if let Running::Played(upstreams) = &mut container.running {
            upstreams.push(upstream);
        }
    }
    Ok(())
}
