//! A whole cluster: a control plane and its nodes.

use std::{ops::Deref, path::Path, process::Command, thread};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use tokio::sync::Mutex;

use super::{
    ApiServer, Image, Network, Node, Registry, Version,
    node::{Plan, Programs, pod_subnet},
};
use crate::wait::until;

/// A cluster on which pods run: an [`ApiServer`] with nodes. It needs root.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they are to end.
    nodes: Vec<Node>,
    server: ApiServer,
    network: Network,
    busybox: Image,
}

impl Cluster {
    /// Starts a cluster of the newest version, and returns when all its nodes are ready.
    ///
    /// # Errors
    /// When a part cannot be built, installed or started, with the end of its log.
    pub async fn start(nodes: u8) -> Result<Self> {
        // One after the other: each alone needs all that a small machine has until its nodes are ready.
        static TURN: Mutex<()> = Mutex::const_new(());
        let _turn = TURN.lock().await;
        let programs = tokio::task::spawn_blocking(programs).await??;
        let network = Network::create()?;
        let server = ApiServer::options()
            .network(&network)
            .controllers(&["*"])
            .scheduler();
        let server = server.start().await?;
        let busybox = Image::busybox()?;
        let plan = Plan {
            directory: server.directory(),
            authority: server.authority(),
            api_server: network.gateway().into(),
            programs: &programs,
            sandbox: &busybox,
        };
        let mut started = Vec::new();
        for number in 1..=nodes {
            let endpoint = network.attach()?;
            endpoint.route(&pod_subnet(number))?;
            started.push(Node::start(&plan, number, endpoint)?);
        }
        let mut cluster = Self {
            nodes: started,
            server,
            network,
            busybox,
        };
        cluster.until_ready().await?;
        Ok(cluster)
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The network that its nodes and its API server are attached to.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Its API server.
    pub fn server(&mut self) -> &mut ApiServer {
        &mut self.server
    }

    /// Puts an image on every node; pods need a pull policy other than `Always` for it.
    ///
    /// # Errors
    /// When a node does not take it.
    pub fn import(&self, image: &Image) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.import(image))
    }

    /// Starts a registry of the cluster's own. Every node pulls from it, and so can be told where its images
    /// come from as on any other cluster.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub async fn registry(&self) -> Result<Registry> {
        let registry = Registry::start(&self.network, self.server.directory().path()).await?;
        for node in &self.nodes {
            node.mirror(registry.host(), registry.inside())?;
        }
        Ok(registry)
    }

    /// An image with a shell, which every node has.
    pub fn busybox(&self) -> &str {
        self.busybox.reference()
    }

    /// Takes a node's power away. Its pods stay in the API until somebody notices.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn lose(&mut self, name: &str) -> Result<()> {
        let before = self.nodes.len();
        self.nodes.retain(|node| node.name() != name);
        ensure!(self.nodes.len() < before, "there is no node {name}");
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<()> {
        let objects: Api<NodeObject> = Api::all(self.client());
        let names: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.name().to_owned())
            .collect();
        let mut fault = None;
        let ready = until("every node ready", async || {
            fault = self.nodes.iter_mut().find_map(|node| node.check().err());
            if fault.is_some() {
                return Some(());
            }
            for name in &names {
                let node = objects.get(name).await.ok()?;
                ready(&node).then_some(())?;
            }
            Some(())
        });
        let ready = ready.await;
        let logs = || self.nodes.iter().map(Node::log_tail).collect::<String>();
        match fault {
            Some(fault) => Err(fault),
            None => ready.with_context(logs),
        }
    }
}

/// When a test fails, what goes on in the cluster is more telling than the logs of its parts.
impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "{}",
                self.describe(None)
                    .unwrap_or_else(|error| format!("{error:#}"))
            );
        }
    }
}

impl Cluster {
    /// What there is and what has happened in a namespace, or in all of them: pods, events, and the
    /// end of every log.
    ///
    /// # Errors
    /// When kubectl cannot be run.
    pub fn describe(&self, namespace: Option<&str>) -> Result<String> {
        let of = namespace.map(|namespace| format!("--namespace={namespace}"));
        let of = of.unwrap_or("--all-namespaces".to_owned());
        let ask = |arguments: &str| -> Result<String> {
            let output = self.kubectl()?.args(arguments.split(' ')).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let mut description = String::new();
        for arguments in [
            format!("get pods {of} --output=wide"),
            format!("get events {of} --sort-by=.lastTimestamp"),
        ] {
            description.push_str(&format!("--- kubectl {arguments}:\n{}", ask(&arguments)?));
        }
        let pods = ask(&format!(
            "get pods {of} --no-headers --output=custom-columns=:.metadata.namespace,:.metadata.name"
        ))?;
        for pod in pods.lines() {
            let Some((namespace, pod)) = pod.split_once(' ') else {
                continue;
            };
            let arguments = format!(
                "logs --namespace={namespace} {} --all-containers --prefix --tail=20",
                pod.trim()
            );
            description.push_str(&format!("--- kubectl {arguments}:\n{}", ask(&arguments)?));
        }
        Ok(description)
    }
}

/// What an administrator does with any cluster: a client, `kubectl`, `apply`.
impl Deref for Cluster {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.server
    }
}

fn programs() -> Result<Programs> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/packages.sh");
    let status = Command::new(&packages)
        .status()
        .context("run packages.sh")?;
    ensure!(
        status.success(),
        "{} ended with {status}",
        packages.display()
    );
    let [kubelet, kube_proxy] = Version::Newest.programs(["kubelet", "kube-proxy"])?;
    Ok(Programs {
        kubelet,
        kube_proxy,
    })
}

fn ready(node: &NodeObject) -> bool {
    let conditions = node
        .status
        .iter()
        .filter_map(|status| status.conditions.as_ref())
        .flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}
