//! Where tests run that need nothing of a cluster but its API: on nodes of their own, or on a cluster
//! that somebody has named.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use super::{Access, Cluster, Image, Images, Network, Version, registry::push, residue::Residue};

/// Names the context of the user's kubeconfig on whose cluster the tests are to run. That it has to be
/// named, and that nothing is guessed, keeps them off a cluster that only happened to be the current one.
pub const CONTEXT: &str = "DRAINHOOK_TEST_CONTEXT";

/// The registry, with a path, to which the tests push their images and ours, and from which that cluster's
/// nodes pull them. Not set: the images are on its nodes already, under the names that they have here.
pub const REGISTRY: &str = "DRAINHOOK_TEST_REGISTRY";

/// A cluster, whosever it is.
#[derive(Debug)]
pub struct Ground {
    own: Option<Cluster>,
    kubeconfig: PathBuf,
    // Holds the kubeconfig of a cluster that was given.
    _directory: Option<Residue>,
}

impl Ground {
    /// The cluster of [`CONTEXT`] where that is set, else one of our own with so many nodes; nothing
    /// where there is neither, which is said, and in CI is an error.
    ///
    /// # Errors
    /// When the context is not to be had or has fewer nodes, or the cluster does not start.
    pub async fn find(nodes: u8) -> Result<Option<Self>> {
        if let Some(context) = env::var_os(CONTEXT).filter(|context| !context.is_empty()) {
            let context = context
                .into_string()
                .ok()
                .context("a context that is no text")?;
            return Ok(Some(Self::given(&context, nodes).await?));
        }
        if !Network::available() {
            return Ok(None);
        }
        let own = Cluster::start(nodes).await?;
        Ok(Some(Self {
            kubeconfig: own.kubeconfig().to_owned(),
            own: Some(own),
            _directory: None,
        }))
    }

    async fn given(context: &str, nodes: u8) -> Result<Self> {
        let [kubectl] = Version::Newest.programs(["kubectl"])?;
        let mut view = Command::new(kubectl);
        view.args(["config", "view", "--raw", "--minify", "--flatten"]);
        let output = view.args(["--context", context]).output();
        let output = output.context("run kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{CONTEXT} names the context {context:?}: {said}"
        );
        // It holds credentials, and tests keep their ground to the end of the process, where nothing is
        // dropped.
        let directory = Residue::create("kubeconfig")?;
        let kubeconfig = directory.file("kubeconfig", output.stdout)?;
        let ground = Self {
            own: None,
            kubeconfig,
            _directory: Some(directory),
        };
        let access = ground.access().await?;
        let all: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(access.client());
        let found = all.list(&Default::default()).await?.items.len();
        ensure!(
            found >= usize::from(nodes),
            "the cluster of context {context:?} has {found} nodes, and {nodes} are needed"
        );
        Ok(ground)
    }

    /// All rights on it, for the runtime that asks.
    ///
    /// # Errors
    /// When the kubeconfig is not one.
    pub async fn access(&self) -> Result<Access> {
        Access::by(self.kubeconfig.clone()).await
    }

    /// Our own cluster, where it is one.
    pub fn own(&self) -> Option<&Cluster> {
        self.own.as_ref()
    }

    /// Sees to it that the nodes have an image, and returns the name under which they have it.
    ///
    /// # Errors
    /// When a node, or the registry, does not take it.
    pub fn provide(&self, image: &Image) -> Result<Image> {
        match (&self.own, env::var(REGISTRY)) {
            (Some(own), _) => own.import(image).map(|()| image.clone()),
            (None, Err(_)) => Ok(image.clone()),
            (None, Ok(registry)) => push(image, registry.trim_end_matches('/')),
        }
    }

    /// [`Ground::provide`] for each of a gateway's images.
    ///
    /// # Errors
    /// When a node, or the registry, does not take one.
    pub fn provide_all(&self, images: &Images) -> Result<Images> {
        Ok(Images {
            envoy: self.provide(&images.envoy)?,
            tools: self.provide(&images.tools)?,
            sidecar: self.provide(&images.sidecar)?,
        })
    }
}
