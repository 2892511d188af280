//! A stage for tests on real nodes: one cluster with the webhook installed, which all tests of a
//! process share, and a [`Scene`] for each: a namespace of its own, in which gateways are put up,
//! loaded and rolled, and of which a [`Witness`] takes down what becomes of each pod.
//!
//! A cluster takes twenty seconds and most of two cores to start, so that one for each test would be
//! too dear. It ends with the process, however that ends.

mod balancer;
mod container;
mod deployed;
mod life;
mod memory;
mod news;
mod waits;
mod witness;

use std::{
    mem::replace,
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use tokio::{
    runtime::Runtime,
    sync::{Mutex, OnceCell},
};

pub use balancer::NodeBalancer;
pub use container::{Container, CpuLimit, Memory, Throttled};
pub use deployed::Deployed;
pub use life::{Life, SIDECAR};
pub use memory::MemoryWatch;
pub use waits::Waits;
pub use witness::Witness;

use crate::{
    cluster::{Cluster, Images, Network},
    gateway::{APPLICATION, Gateway},
    installation::{Installation, Replica},
};

/// Clients of the API are bound to the runtime that made them, and the cluster's are for all tests.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    #[allow(clippy::expect_used, reason = "nothing can be tested without threads")]
    Runtime::new().expect("a runtime")
});

/// A cluster of two nodes with what every scene needs.
pub struct Stage {
    cluster: &'static Cluster,
    images: Images,
    webhook: Mutex<Webhook>,
}

/// The webhook, of which one replica runs.
struct Webhook {
    installation: Installation<'static>,
    replica: Replica,
}

/// A replica that was told to end does so within this: it waits for the API server to hear of it.
const WEBHOOK_ENDS: Duration = Duration::from_secs(60);

/// Plays a test on the stage that all tests of this process share. Where there is no root it is
/// skipped, which in CI is a failure.
///
/// # Panics
/// Where the stage cannot be set up, and where the test panics; then the end of what happened in its
/// namespace is printed.
#[allow(clippy::panic, clippy::expect_used, reason = "a test fails by it")]
pub fn play(test: impl AsyncFnOnce(&Scene)) {
    static STAGE: OnceCell<Result<Stage, String>> = OnceCell::const_new();
    if !Network::available() {
        return;
    }
    RUNTIME.block_on(async {
        let set_up = async || Stage::start(2).await.map_err(|error| format!("{error:#}"));
        let stage = match STAGE.get_or_init(set_up).await {
            Ok(stage) => stage,
            Err(error) => panic!("the stage cannot be set up: {error}"),
        };
        let scene = Scene::open(stage).await.expect("a namespace");
        test(&scene).await;
    });
}

impl Stage {
    /// Starts the cluster, puts the images on its nodes, and installs the webhook: a pod that asks
    /// for its drain gets it as on any cluster.
    ///
    /// # Errors
    /// When any of it cannot be built or started.
    pub async fn start(nodes: u8) -> Result<Self> {
        let images = tokio::task::spawn_blocking(Images::build);
        let cluster = Cluster::start(nodes).await?;
        // It is there for as long as the process is, and so are those who hold on to it.
        let cluster: &'static Cluster = Box::leak(Box::new(cluster));
        let images = images.await??;
        for image in images.all() {
            cluster.import(image)?;
        }
        // A pod that is created while the machine stands still must get its drain all the same.
        let values = ["imageChoice=allow", "webhook.timeoutSeconds=30"];
        let mut installation = Installation::apply(cluster, cluster.network(), &values).await?;
        let replica = installation.replica().await?;
        installation.publish(&[&replica]).await?;
        let stage = Self {
            cluster,
            images,
            webhook: Mutex::new(Webhook {
                installation,
                replica,
            }),
        };
        stage.start_application().await?;
        Ok(stage)
    }

    /// The cluster.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// What its nodes have.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Replaces the webhook's replica by another, as a rollout does: the new one is ready and published
    /// before the old one is told to end.
    ///
    /// # Errors
    /// When the new one does not become ready, or the old one does not end in good order.
    pub async fn roll_webhook(&self) -> Result<()> {
        let mut webhook = self.webhook.lock().await;
        let Webhook {
            installation,
            replica,
        } = &mut *webhook;
        let successor = installation.replica().await?;
        installation.publish(&[&successor]).await?;
        let mut old = replace(replica, successor);
        old.process.terminate()?;
        let status = old.process.wait(WEBHOOK_ENDS).await?;
        ensure!(status.success(), "the webhook's replica ended: {status}");
        Ok(())
    }

    async fn start_application(&self) -> Result<()> {
        self.cluster.namespace("application", &[]).await?;
        let labels = json!({ "app": "application" });
        let metadata = json!({ "name": "application", "namespace": "application" });
        self.cluster
            .apply(&json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {
                    "selector": { "matchLabels": labels },
                    "template": {
                        "metadata": { "labels": labels },
                        "spec": { "containers": [{
                            "name": "application",
                            "image": self.images.tools.reference(),
                            "args": ["serve", format!("0.0.0.0:{}", APPLICATION.port())],
                            // It answers all scenes, and must not starve where the cores are busy.
                            "resources": { "requests": { "cpu": "500m" } },
                        }] },
                    },
                },
            }))
            .await?;
        self.cluster
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {
                    "clusterIP": APPLICATION.ip(),
                    "selector": labels,
                    "ports": [{ "port": APPLICATION.port() }],
                },
            }))
            .await?;
        Ok(())
    }
}

/// A namespace of a test's own. It is deleted when this is dropped, without waiting for the end.
pub struct Scene<'a> {
    stage: &'a Stage,
    namespace: String,
    number: u16,
}

impl<'a> Scene<'a> {
    /// A new namespace, called after the test.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn open(stage: &'a Stage) -> Result<Self> {
        static OPENED: AtomicU16 = AtomicU16::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let test = thread::current().name().unwrap_or("scene").to_owned();
        let words = test
            .rsplit("::")
            .next()
            .unwrap_or_default()
            .replace('_', "-");
        // A namespace has at most 63 characters.
        let namespace = format!("t{number}-{words:.50}");
        let namespace = namespace.trim_end_matches('-').to_owned();
        stage.cluster.namespace(&namespace, &[]).await?;
        Ok(Self {
            stage,
            namespace,
            number,
        })
    }

    /// The stage.
    pub fn stage(&self) -> &'a Stage {
        self.stage
    }

    /// The cluster.
    pub fn cluster(&self) -> &'static Cluster {
        self.stage.cluster
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `kubectl` in the namespace.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = self.cluster().kubectl()?;
        command.arg(format!("--namespace={}", self.namespace));
        Ok(command)
    }

    /// What `kubectl` prints in the namespace, asked in words that are separated by spaces.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ask(&self, words: &str) -> Result<String> {
        let output = self.kubectl()?.args(words.split(' ')).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {words}: {said}");
        String::from_utf8(output.stdout).map_err(|_| anyhow!("kubectl {words}: not text"))
    }

    /// Puts a gateway up, and returns when all its pods are ready and it answers.
    ///
    /// # Errors
    /// When the API server refuses it, or it does not come up.
    pub async fn put_up(&'a self, gateway: Gateway) -> Result<Deployed<'a>> {
        let deployed = self.begin(gateway).await?;
        deployed.until_rolled_out().await?;
        deployed.until_serving().await?;
        Ok(deployed)
    }

    /// As [`Scene::put_up`], without waiting for anything.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn begin(&'a self, gateway: Gateway) -> Result<Deployed<'a>> {
        let witness = Witness::start(self.cluster(), &self.namespace);
        let ports = gateway.ports(self.number);
        for object in gateway.manifest(&self.namespace, self.stage.images(), ports) {
            self.cluster().apply(&object).await?;
        }
        Deployed::new(self, gateway, ports, witness).await
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            match self.cluster().describe(Some(&self.namespace)) {
                Ok(description) => eprintln!("{description}"),
                Err(error) => eprintln!("{error:#}"),
            }
        }
        let words = format!("delete namespace {} --wait=false", self.namespace);
        if let Err(error) = self.ask(&words) {
            eprintln!("{error:#}");
        }
    }
}
