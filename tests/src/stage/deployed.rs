//! A gateway that is there: loaded, rolled, and asked what became of its pods.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{Pod, Service},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use tokio::time::sleep;

use super::{Container, Life, Memory, MemoryWatch, NodeBalancer, Scene, Witness, memory};
use crate::{
    cluster::Traffic,
    gateway::{Gateway, Ports, is_ready},
    load::{Balancer, Mix, Target, serves},
    wait::until,
};

/// So many answers before anything is done to a gateway: every sort of client is at work then.
const FLOWING: u64 = 500;

/// Between two questions to the API server, which has many to answer.
const POLL: Duration = Duration::from_millis(200);

/// A gateway in a scene.
pub struct Deployed<'a> {
    scene: &'a Scene<'a>,
    gateway: Gateway,
    ports: Ports,
    service: SocketAddr,
    witness: Arc<Witness>,
}

impl<'a> Deployed<'a> {
    pub(super) async fn new(
        scene: &'a Scene<'a>,
        gateway: Gateway,
        ports: Ports,
        witness: Witness,
    ) -> Result<Self> {
        let services: Api<Service> = Api::namespaced(scene.cluster().client(), scene.namespace());
        let spec = services.get("gateway").await?.spec;
        let ip = spec.and_then(|spec| spec.cluster_ip);
        let ip = ip.context("a Service without an address")?.parse()?;
        Ok(Self {
            scene,
            gateway,
            ports,
            service: SocketAddr::new(ip, 80),
            witness: Arc::new(witness),
        })
    }

    /// Its Service.
    pub fn service(&self) -> SocketAddr {
        self.service
    }

    /// Where its Service takes TCP connections.
    pub fn tcp_service(&self) -> SocketAddr {
        SocketAddr::new(self.service.ip(), 81)
    }

    /// The ports of its pods.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// What the largest of its pods' managers has in memory now; nothing without any.
    pub fn memory(&self) -> Memory {
        memory::largest(&self.lives())
    }

    /// Watches the memory of its pods' managers from now on.
    pub fn watch_memory(&self) -> MemoryWatch {
        MemoryWatch::start(Arc::clone(&self.witness))
    }

    /// Its pods' lives so far.
    pub fn lives(&self) -> Vec<Life> {
        self.witness.lives()
    }

    /// The lives that are over, which are forgotten: where a gateway goes on for hours.
    pub fn forget_the_gone(&self) -> Vec<Life> {
        self.witness.forget_the_gone()
    }

    /// The life of one pod so far.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn life(&self, pod: &str) -> Result<Life> {
        let life = self.witness.life(pod);
        life.with_context(|| format!("no pod {pod} was seen"))
    }

    /// Its pods that nobody has told to end yet, by name.
    ///
    /// # Errors
    /// When the API server does not tell.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let pods = self
            .api()
            .list(&ListParams::default().labels("app=gateway"))
            .await?;
        let staying = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        let mut pods: Vec<_> = pods.items.into_iter().filter(staying).collect();
        pods.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        Ok(pods)
    }

    /// The name of its first pod.
    ///
    /// # Errors
    /// When it has none.
    pub async fn a_pod(&self) -> Result<String> {
        let pods = self.pods().await?;
        let name = pods.into_iter().find_map(|pod| pod.metadata.name);
        name.context("the gateway has no pod")
    }

    /// A running container of one of its pods.
    ///
    /// # Errors
    /// When it was not started.
    pub fn container(&self, pod: &str, container: &str) -> Result<Container> {
        let life = self.life(pod)?;
        let status = life.container(container);
        Container::of(status.with_context(|| format!("{pod} has no container {container}"))?)
    }

    /// Access to the pods of its namespace.
    pub fn api(&self) -> Api<Pod> {
        Api::namespaced(self.scene.cluster().client(), self.scene.namespace())
    }

    /// Starts a load through its Service, and returns when it flows.
    ///
    /// # Errors
    /// When it does not begin to flow.
    pub async fn load(&self, mix: Mix) -> Result<Traffic> {
        let node = &self.scene.cluster().nodes()[0];
        let target = Target::default();
        let traffic = Traffic::start(node.namespace(), self.service, &target, mix).await?;
        until_flowing(&traffic).await?;
        Ok(traffic)
    }

    /// Starts a load from outside of the nodes, as a load balancer sends it: to the nodes whose pod is
    /// ready.
    ///
    /// # Errors
    /// When it does not begin to flow.
    pub async fn load_on_nodes(&self, mix: Mix) -> Result<Traffic> {
        let balancer = NodeBalancer::new(Arc::clone(&self.witness), self.ports.traffic);
        // What has no endpoint at first would fail.
        until("the load balancer knows a node", async || {
            balancer.choose().map(drop)
        })
        .await?;
        let outside = self.scene.cluster().network().namespace();
        let traffic = Traffic::start(outside, balancer, &Target::default(), mix).await?;
        until_flowing(&traffic).await?;
        Ok(traffic)
    }

    /// Begins to replace every pod.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn restart(&self) -> Result<()> {
        let words = format!("rollout restart {}", self.gateway.resource());
        self.scene.ask(&words).map(drop)
    }

    /// Changes it to another shape, on the same Service.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn become_another(&mut self, gateway: Gateway) -> Result<()> {
        let images = self.scene.stage().images();
        for object in gateway.manifest(self.scene.namespace(), images, self.ports) {
            self.scene.cluster().apply(&object).await?;
        }
        self.gateway = gateway;
        Ok(())
    }

    /// Waits until a pod is sent no new connections any more: the node that the load comes from knows that it is
    /// not ready, or is to end. Gives when it knew.
    ///
    /// # Errors
    /// When that has not come in three minutes.
    pub async fn until_passed_over(&self, pod: &str) -> Result<Instant> {
        self.witness.until_passed_over(pod).await?;
        Ok(Instant::now())
    }

    /// Deletes a pod, with its own grace period or a shorter one, in seconds. One that is gone already is no error.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, pod: &str, grace: Option<u32>) -> Result<()> {
        let parameters = DeleteParams {
            grace_period_seconds: grace,
            ..DeleteParams::default()
        };
        match self.api().delete(pod, &parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => Ok(deleted.map(drop)?),
        }
    }

    /// Replaces every pod under load, and returns when every old one is gone.
    ///
    /// # Errors
    /// When it does not come to an end.
    pub async fn roll(&self) -> Result<()> {
        self.restart()?;
        self.until_rolled_out().await
    }

    /// Waits until every pod that is to stay is a new one and ready. Old ones may still drain.
    ///
    /// # Errors
    /// When that has not come in three minutes.
    pub async fn until_ready(&self) -> Result<()> {
        let ready = until("the gateway's new pods are ready", async || {
            sleep(POLL).await;
            let wanted = self.wanted_when_current().await?;
            let pods = self.pods().await.ok()?;
            (pods.len() == wanted && pods.iter().all(is_ready)).then_some(())
        });
        ready.await.with_context(|| self.standing())
    }

    /// Waits until every pod is a new one and ready, and every old one is gone that had served.
    ///
    /// One that was told to end while it started may be there for as long as its grace period is: the first
    /// process of a container does not get a signal that comes before it has asked for it.
    ///
    /// # Errors
    /// When that has not come in three minutes, with where each pod stands.
    pub async fn until_rolled_out(&self) -> Result<()> {
        let rolled = until("the gateway is rolled out", async || {
            sleep(POLL).await;
            let wanted = self.wanted_when_current().await?;
            let all = ListParams::default().labels("app=gateway");
            let mut pods = self.api().list(&all).await.ok()?.items;
            pods.retain(|pod| !self.never_served(pod));
            // A pod that was deleted or evicted is ready for a while, and counts for two with its
            // successor only once that is there.
            let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod);
            (pods.len() == wanted && pods.iter().all(stays)).then_some(())
        });
        rolled.await.with_context(|| self.standing())?;
        // The witness learns it from another connection.
        let seen = until("the end of every old pod is seen", async || {
            sleep(POLL).await;
            let lives = self.lives();
            let over = |life: &Life| {
                life.deleted.is_none()
                    || life.is_over()
                    || (life.gone.is_none() && !life.has_served())
            };
            lives.iter().all(over).then_some(())
        });
        seen.await.with_context(|| self.standing())
    }

    /// Whether a pod was told to end before it was ever ready.
    fn never_served(&self, pod: &Pod) -> bool {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let life = self.witness.life(name);
        let served = life.is_none_or(|life| life.has_served());
        pod.metadata.deletion_timestamp.is_some() && !is_ready(pod) && !served
    }

    /// Where each of its pods stands, a line for each: for whoever has waited in vain.
    pub fn standing(&self) -> String {
        let lives = self.lives();
        let lines: Vec<_> = lives.iter().map(Life::describe).collect();
        format!("the gateway's pods:\n  {}", lines.join("\n  "))
    }

    /// Waits until a pod is gone.
    ///
    /// # Errors
    /// When it is still there after three minutes.
    pub async fn until_gone(&self, pod: &str) -> Result<Life> {
        let what = format!("pod {pod} is gone");
        let gone = until(&what, async || {
            sleep(POLL).await;
            self.witness.life(pod).filter(Life::is_over)
        });
        gone.await.with_context(|| self.standing())
    }

    /// Waits until its Service answers on the first node: each kube-proxy learns of endpoints in its
    /// own time.
    ///
    /// # Errors
    /// When it does not answer within three minutes.
    pub async fn until_serving(&self) -> Result<()> {
        let node = &self.scene.cluster().nodes()[0];
        let service = self.service;
        until("the Service answers", async || {
            let ask = async move || serves(service, &Target::default()).await;
            node.namespace().run(ask).await.ok()?.ok()
        })
        .await
    }

    /// How many pods there are to be, once the controller has made all of them after the current
    /// template.
    async fn wanted_when_current(&self) -> Option<usize> {
        let (client, namespace) = (self.scene.cluster().client(), self.scene.namespace());
        let (wanted, updated) = match self.gateway.is_on_host_network() {
            true => {
                let sets: Api<DaemonSet> = Api::namespaced(client, namespace);
                let set = sets.get("gateway").await.ok()?;
                let status = set.status?;
                (status.observed_generation? >= set.metadata.generation?).then_some(())?;
                (
                    status.desired_number_scheduled,
                    status.updated_number_scheduled?,
                )
            }
            false => {
                let deployments: Api<Deployment> = Api::namespaced(client, namespace);
                let deployment = deployments.get("gateway").await.ok()?;
                let status = deployment.status?;
                (status.observed_generation? >= deployment.metadata.generation?).then_some(())?;
                let wanted = deployment.spec?.replicas?;
                (wanted, status.updated_replicas.unwrap_or_default())
            }
        };
        (wanted == updated).then_some(())?;
        usize::try_from(wanted).ok()
    }
}

/// Waits until every sort of client is at work.
///
/// # Errors
/// When too few answers came in three minutes.
async fn until_flowing(traffic: &Traffic) -> Result<()> {
    let before = traffic.count().answered;
    until("requests are answered", async || {
        (traffic.count().answered >= before + FLOWING).then_some(())
    })
    .await
}
