//! A rolling update, as the Deployment controller does it with `maxSurge: 1, maxUnavailable: 0`:
//! one new pod, and when it has been ready for `minReadySeconds`, one old pod is deleted; the next
//! new pod does not wait until the old one is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::endpoints::Endpoints;
use crate::kubelet::{self, Stopped};
use crate::load::{HealthChecks, Target, serves};
use crate::pod::{Blueprint, Pod};

/// What happens while pods are rolled, to show progress.
#[derive(Clone, Debug)]
pub enum Event {
    /// A pod takes traffic.
    Serves(String),
    /// A pod was told to end.
    Terminates(String),
    /// A pod is gone.
    Gone(String, Stopped),
}

/// Called with every event.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// The life of a pod.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its name.
    pub name: String,
    /// Where it takes traffic.
    pub endpoint: SocketAddr,
    /// When it was started.
    pub started: Instant,
    /// When it took traffic.
    pub served: Instant,
    /// How it ended, where it was told to.
    pub stopped: Option<Stopped>,
}

/// How pods take traffic.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The port; that of the first HTTP listener which the pod names where it is not given.
    pub port: Option<u16>,
    /// A request that a pod which serves answers.
    pub target: Target,
}

/// The pods of one workload behind a balancer.
pub struct Fleet {
    blueprint: Arc<Blueprint>,
    traffic: Traffic,
    endpoints: Endpoints,
    health_checks: Option<Arc<HealthChecks>>,
    observer: Observer,
    running: Vec<(Pod, Life)>,
    ended: Vec<Life>,
    count: usize,
}

impl Fleet {
    /// Starts so many pods and waits until all take traffic.
    ///
    /// # Errors
    /// Where one does not come up.
    pub async fn start(
        blueprint: Arc<Blueprint>,
        replicas: usize,
        traffic: Traffic,
        endpoints: Endpoints,
        observer: Observer,
    ) -> Result<Self> {
        let mut fleet = Fleet {
            blueprint,
            traffic,
            endpoints,
            health_checks: None,
            observer,
            running: Vec::new(),
            ended: Vec::new(),
            count: 0,
        };
        for _ in 0..replicas {
            fleet.surge().await?;
        }
        Ok(fleet)
    }

    /// Has a load balancer check every pod from now on until it is gone.
    pub fn check_health(&mut self, checks: HealthChecks) {
        for (_, life) in &self.running {
            checks.add(life.endpoint);
        }
        self.health_checks = Some(Arc::new(checks));
    }

    /// The pods that run.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.running.iter().map(|(pod, _)| pod)
    }

    /// Where the pods that run take traffic.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        self.running.iter().map(|(_, life)| life.endpoint)
    }

    /// Replaces every pod by a new one, and waits until the old ones are gone.
    ///
    /// # Errors
    /// Where a new pod does not come up, or an old one cannot be stopped.
    pub async fn roll(&mut self) -> Result<()> {
        let mut stops = JoinSet::new();
        for _ in 0..self.running.len() {
            self.surge().await?;
            sleep(self.blueprint.workload.min_ready).await;
            // The oldest one: new ones are appended.
            let (pod, life) = self.running.remove(0);
            stops.spawn(self.stop(pod, life));
        }
        while let Some(stopped) = stops.join_next().await {
            self.ended
                .push(stopped.context("the stop of a pod was given up")??);
        }
        Ok(())
    }

    /// Every pod that was there, in the order in which they were started.
    pub fn lives(self) -> Vec<Life> {
        let mut lives = self.ended;
        lives.extend(self.running.into_iter().map(|(_, life)| life));
        lives.sort_by_key(|life| life.started);
        lives
    }

    async fn surge(&mut self) -> Result<()> {
        self.count += 1;
        let name = format!("{}-{}", self.blueprint.workload.name, self.count);
        let started = Instant::now();
        let mut pod = Pod::start(&self.blueprint, &name).await?;
        pod.ready().await?;
        let endpoint = self.endpoint(&pod)?;
        serves(endpoint, &self.traffic.target)
            .await
            .with_context(|| {
                format!("pod {name} does not serve on {endpoint}{}", pod.log_tails())
            })?;
        self.endpoints.add(endpoint);
        if let Some(checks) = &self.health_checks {
            checks.add(endpoint);
        }
        (self.observer)(Event::Serves(name.clone()));
        let served = Instant::now();
        self.running.push((
            pod,
            Life {
                name,
                endpoint,
                started,
                served,
                stopped: None,
            },
        ));
        Ok(())
    }

    fn stop(
        &self,
        mut pod: Pod,
        mut life: Life,
    ) -> impl Future<Output = Result<Life>> + Send + use<> {
        self.endpoints.terminating(life.endpoint);
        (self.observer)(Event::Terminates(life.name.clone()));
        let health_checks = self.health_checks.clone();
        let observer = Arc::clone(&self.observer);
        async move {
            let stopped = kubelet::stop(&mut pod, None).await?;
            if let Some(checks) = health_checks {
                checks.remove(life.endpoint);
            }
            observer(Event::Gone(life.name.clone(), stopped.clone()));
            life.stopped = Some(stopped);
            Ok(life)
        }
    }

    fn endpoint(&self, pod: &Pod) -> Result<SocketAddr> {
        if let Some(port) = self.traffic.port {
            return Ok((pod.address(), port).into());
        }
        let listeners = &pod.surroundings().listeners;
        let named = |listener: &&SocketAddr| {
            let mut ports = pod
                .containers()
                .iter()
                .flat_map(|container| &container.spec.ports);
            ports.any(|port| port.container_port == listener.port())
        };
        let found = listeners.iter().find(named).or(listeners.first());
        found.copied().with_context(|| {
            format!(
                "no HTTP listener in the Envoy configuration of {}; where it comes from a control \
                 plane, say the port and give Envoy one that answers without",
                pod.name()
            )
        })
    }
}
