//! A gateway on any cluster, as its users have it: Envoy in front of an application, behind a Service,
//! with the mixed load on it from a pod.
//!
//! Nothing of it needs more than the cluster's API, so it runs wherever [`Ground`](crate::cluster::Ground)
//! is. The gateways of [`stage`](crate::stage) have more shapes, and more is seen of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, LogParams},
};
use serde_json::{Value, json};

use crate::{
    bootstrap::{Bootstrap, Listener},
    cluster::{Access, Image},
    wait::{until, within},
};

/// Envoy's traffic and admin ports, and the application's.
const TRAFFIC: u16 = 8000;
const ADMIN: u16 = 9901;
const APPLICATION: u16 = 8080;

/// Answers that the load must have before anything is done to the gateway: every kind of client has
/// begun by then.
const ENOUGH: u64 = 1_000;

/// What Pod Security "restricted" asks of a container.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "runAsNonRoot": true,
        "runAsUser": 65_532,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

/// A Deployment of Envoy that opts in, with an application beside it, and its Service. It is only
/// made by [`Gateway::deploy`].
#[derive(Clone, Debug)]
pub struct Gateway<'a> {
    access: &'a Access,
    namespace: String,
    envoy: Image,
    tools: Image,
    annotations: Value,
    pre_stop: Option<Value>,
    replicas: u32,
}

impl<'a> Gateway<'a> {
    /// Two replicas in this namespace, under the name `gateway`. The images are on the nodes.
    pub fn new(access: &'a Access, namespace: &str, envoy: &Image, tools: &Image) -> Self {
        Self {
            access,
            namespace: namespace.to_owned(),
            envoy: envoy.clone(),
            tools: tools.clone(),
            annotations: json!({ "drainhook.io/inject": "true" }),
            pre_stop: None,
            replicas: 2,
        }
    }

    /// Another number of replicas.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// An annotation more on its pods.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations[key] = json!(value);
        self
    }

    /// Without any annotation of ours.
    #[must_use]
    pub fn not_annotated(mut self) -> Self {
        self.annotations = json!({});
        self
    }

    /// With this preStop hook on Envoy, and on the application beside it, which must not go before.
    #[must_use]
    pub fn pre_stop(mut self, hook: Value) -> Self {
        self.pre_stop = Some(hook);
        self
    }

    /// Creates or changes it, and returns the address of its Service once every pod is ready.
    ///
    /// # Errors
    /// When the API server refuses, or the pods do not become ready.
    pub async fn deploy(&self) -> Result<SocketAddr> {
        self.access.apply(&self.deployment()).await?;
        self.access.apply(&self.service()).await?;
        self.until_rolled_out().await?;
        let services: Api<Service> = Api::namespaced(self.access.client(), &self.namespace);
        let service = services.get("gateway").await?.spec.context("no spec")?;
        let ip = service.cluster_ip.context("a Service without an address")?;
        Ok(SocketAddr::new(ip.parse()?, 80))
    }

    /// The Deployment.
    pub fn deployment(&self) -> Value {
        let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = Listener::http("traffic", everywhere(TRAFFIC), "application");
        let bootstrap = Bootstrap::new()
            .admin(here(ADMIN))
            .listener(listener)
            .cluster("application", here(APPLICATION))
            // Where `CONNECT` goes, which nobody sends.
            .cluster("tunnel", here(APPLICATION));
        let mut deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "gateway", "namespace": self.namespace },
            "spec": {
                "replicas": self.replicas,
                "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
                "selector": { "matchLabels": { "app": "gateway" } },
                "template": {
                    "metadata": {
                        "labels": { "app": "gateway" },
                        "annotations": self.annotations,
                    },
                    "spec": {
                        "containers": [
                            {
                                "name": "envoy",
                                "image": self.envoy.reference(),
                                "args": [
                                    "--config-yaml",
                                    bootstrap.value().to_string(),
                                    // Nobody restarts Envoy in place in a container.
                                    "--disable-hot-restart",
                                    "--concurrency",
                                    "2",
                                ],
                                "ports": [{ "name": "http", "containerPort": TRAFFIC }],
                                "readinessProbe": {
                                    "httpGet": { "path": "/", "port": TRAFFIC },
                                    "periodSeconds": 1,
                                },
                                "securityContext": restricted(),
                            },
                            {
                                "name": "application",
                                "image": self.tools.reference(),
                                "args": ["serve", everywhere(APPLICATION).to_string()],
                                "securityContext": restricted(),
                            },
                        ],
                    },
                },
            },
        });
        if let Some(hook) = &self.pre_stop {
            let containers = &mut deployment["spec"]["template"]["spec"]["containers"];
            for container in containers.as_array_mut().into_iter().flatten() {
                container["lifecycle"]["preStop"] = hook.clone();
            }
        }
        deployment
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "gateway", "namespace": self.namespace },
            "spec": {
                "selector": { "app": "gateway" },
                "ports": [{ "port": 80, "targetPort": TRAFFIC }],
            },
        })
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

/// Whether a pod has the drain: the sidecar, and a hook of its that asks for `/shutdown`.
pub fn has_drain(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let all = || {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    };
    let hooked = |path: Option<&String>| path.is_some_and(|path| path.starts_with("/shutdown"));
    let asks = all()
        .filter_map(|container| {
            container
                .lifecycle
                .as_ref()?
                .pre_stop
                .as_ref()?
                .http_get
                .as_ref()
        })
        .any(|get| hooked(get.path.as_ref()));
    asks && all().any(|container| container.name == "shutdown-manager")
}

/// The mixed load on a Service, from a pod of the cluster: `traffic send`.
#[derive(Debug)]
pub struct LoadPod {
    pods: Api<Pod>,
    name: String,
}

impl LoadPod {
    /// Starts it, and returns when a thousand requests were answered.
    ///
    /// # Errors
    /// When the pod does not run, or requests are not answered.
    pub async fn start(
        access: &Access,
        namespace: &str,
        tools: &Image,
        address: SocketAddr,
    ) -> Result<Self> {
        let name = "load".to_owned();
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "restartPolicy": "Never",
                // Each client ends after its answer.
                "terminationGracePeriodSeconds": 60,
                "containers": [{
                    "name": "traffic",
                    "image": tools.reference(),
                    "args": ["send", address.to_string()],
                    "securityContext": restricted(),
                }],
            },
        });
        access.apply(&pod).await?;
        let load = Self {
            pods: Api::namespaced(access.client(), namespace),
            name,
        };
        let what = format!("{ENOUGH} answers");
        until(&what, async || {
            (load.answered().await.ok()? >= ENOUGH).then_some(())
        })
        .await?;
        Ok(load)
    }

    /// How many requests were answered until about now.
    ///
    /// # Errors
    /// When the pod's log cannot be read.
    pub async fn answered(&self) -> Result<u64> {
        let last = LogParams {
            tail_lines: Some(1),
            ..LogParams::default()
        };
        let line = self.pods.logs(&self.name, &last).await?;
        let number = line.split(' ').next().context("an empty log")?;
        number.parse().with_context(|| format!("read {line:?}"))
    }

    /// Stops the clients, each after its answer; returns how many requests there were, and a line
    /// for each that failed.
    ///
    /// # Errors
    /// When its log cannot be read to the end.
    pub async fn stop(self) -> Result<(u64, Vec<String>)> {
        let follow = LogParams {
            follow: true,
            ..LogParams::default()
        };
        let log = self.pods.log_stream(&self.name, &follow).await?;
        self.pods
            .delete(&self.name, &DeleteParams::default())
            .await?;
        let lines = within("the end of the load", log.lines().try_collect::<Vec<_>>()).await??;
        let last = lines.last().context("an empty log")?;
        let summary = last.split_once(" requests, ");
        let (number, _) = summary.with_context(|| format!("no summary: {last:?}"))?;
        let progress = |line: &String| line.ends_with(" answered");
        let end = lines.len() - 1;
        let failures = lines[..end].iter().filter(|line| !progress(line));
        let (number, failures) = (number.parse()?, failures.cloned().collect());
        until("the load's pod is gone", async || {
            self.pods
                .get_opt(&self.name)
                .await
                .ok()?
                .is_none()
                .then_some(())
        })
        .await?;
        Ok((number, failures))
    }
}

fn run(kubectl: &mut Command) -> Result<()> {
    let output = kubectl.output().context("run kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{kubectl:?}: {said}");
    Ok(())
}
