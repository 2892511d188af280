//! A gateway on any cluster: nothing of it needs more than the cluster's API, so it runs wherever
//! [`Ground`](crate::cluster::Ground) is. Of those on a [`stage`](crate::stage) more is seen.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{Api, api::ListParams};
use serde_json::Value;

use super::Gateway;
use crate::{
    cluster::{Access, Images},
    wait::until,
};

/// A gateway in a namespace of a cluster, whosever that is. It is only made by [`Workload::deploy`].
#[derive(Clone)]
pub struct Workload<'a> {
    access: &'a Access,
    namespace: String,
    images: Images,
    gateway: Gateway,
}

impl<'a> Workload<'a> {
    /// A gateway in this namespace. The images are on the nodes.
    pub fn new(access: &'a Access, namespace: &str, images: &Images, gateway: Gateway) -> Self {
        Self {
            access,
            namespace: namespace.to_owned(),
            images: images.clone(),
            gateway,
        }
    }

    /// The same with another description.
    #[must_use]
    pub fn but(self, change: impl FnOnce(Gateway) -> Gateway) -> Self {
        Self {
            gateway: change(self.gateway),
            ..self
        }
    }

    /// Creates or changes it, and returns the address of its Service once every pod is ready.
    ///
    /// # Errors
    /// When the API server refuses, or the pods do not become ready.
    pub async fn deploy(&self) -> Result<SocketAddr> {
        for object in self.manifest() {
            self.access.apply(&object).await?;
        }
        self.until_rolled_out().await?;
        let services: Api<Service> = Api::namespaced(self.access.client(), &self.namespace);
        let service = services.get("gateway").await?.spec.context("no spec")?;
        let ip = service.cluster_ip.context("a Service without an address")?;
        Ok(SocketAddr::new(ip.parse()?, 80))
    }

    /// The Deployment.
    pub fn deployment(&self) -> Value {
        let [deployment, _] = self.manifest();
        deployment
    }

    fn manifest(&self) -> [Value; 2] {
        let ports = self.gateway.ports(0);
        self.gateway.manifest(&self.namespace, &self.images, ports)
    }

    /// `kubectl rollout restart`: begins to replace every pod.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn restart(&self) -> Result<()> {
        run(self.access.kubectl()?.args([
            "rollout",
            "restart",
            "deployment/gateway",
            "--namespace",
            &self.namespace,
        ]))
    }

    /// Waits until every pod is of the newest template and ready, and every old one is gone.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn until_rolled_out(&self) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.access.client(), &self.namespace);
        until("the gateway is rolled out", async || {
            let deployment = deployments.get("gateway").await.ok()?;
            let wanted = deployment.spec?.replicas?;
            let status = deployment.status?;
            let current = status.observed_generation >= deployment.metadata.generation;
            let ready =
                status.updated_replicas == Some(wanted) && status.ready_replicas == Some(wanted);
            let all = self.pods().await.ok()?;
            (current && ready && i32::try_from(all.len()) == Ok(wanted)).then_some(())
        })
        .await
    }

    /// Its pods, those that are ending included.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.access.client(), &self.namespace);
        let ours = ListParams::default().labels("app=gateway");
        Ok(pods.list(&ours).await?.items)
    }

    /// Deletes it, and returns when its pods are gone.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn delete(&self) -> Result<()> {
        run(self.access.kubectl()?.args([
            "delete",
            "deployment/gateway",
            "service/gateway",
            "--ignore-not-found",
            "--cascade=foreground",
            "--namespace",
            &self.namespace,
        ]))
    }
}

fn run(kubectl: &mut Command) -> Result<()> {
    let output = kubectl.output().context("run kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{kubectl:?}: {said}");
    Ok(())
}
