//! What an administrator does with a cluster, whosever it is.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api, Client, Config,
    api::{DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::Version;
use crate::wait::until;

/// Access to a cluster with all rights: a client, a kubeconfig, `kubectl`.
pub struct Access {
    client: Client,
    kubeconfig: PathBuf,
    kubectl: OnceLock<PathBuf>,
}

impl Access {
    /// By a kubeconfig.
    pub(super) async fn by(kubeconfig: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&kubeconfig)
            .with_context(|| format!("read {}", kubeconfig.display()))?;
        Ok(Self {
            client: client(&text).await?,
            kubeconfig,
            kubectl: OnceLock::new(),
        })
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A kubeconfig with all rights, for use on this machine.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `kubectl` as administrator. It is built when there is none, which takes a minute, once.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn kubectl(&self) -> Result<Command> {
        let program = match self.kubectl.get() {
            Some(program) => program,
            None => {
                // The newest one knows all that the tests ask of it, with every version's server.
                let [program] = Version::Newest.programs(["kubectl"])?;
                self.kubectl.get_or_init(|| program)
            }
        };
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig);
        // What it has discovered of other clusters is not to be believed here.
        command.arg(format!("--cache-dir={}.cache", self.kubeconfig.display()));
        Ok(command)
    }

    /// Creates an object, or changes it to be as given, by server-side apply. The object names its
    /// `apiVersion`, `kind`, name and namespace.
    ///
    /// # Errors
    /// When the API server refuses, or does not know the kind.
    pub async fn apply(&self, object: &Value) -> Result<DynamicObject> {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        let name = text("/metadata/name").with_context(|| format!("no name in {object}"))?;
        let (Some(version), Some(kind)) = (version, kind) else {
            bail!("no apiVersion or kind in {object}");
        };
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = kube::discovery::pinned_kind(&self.client, &kind)
            .await
            .with_context(|| format!("look up {kind:?}"))?;
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &resource),
            None => Api::all_with(self.client(), &resource),
        };
        let parameters = PatchParams::apply("tests").force();
        api.patch(name, &parameters, &Patch::Apply(object))
            .await
            .with_context(|| format!("apply {} {name}", resource.kind))
    }

    /// Creates a namespace with these labels, and waits until pods can be created in it.
    ///
    /// # Errors
    /// When the API server refuses, or no controller makes its service account.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: Value = labels.iter().map(|(key, value)| (*key, *value)).collect();
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        }))
        .await?;
        self.until_default_account(name).await
    }

    /// Waits until a namespace has its default service account: without it no pod is admitted.
    pub(super) async fn until_default_account(&self, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let what = format!("the default service account of namespace {namespace}");
        until(&what, async || accounts.get("default").await.ok()).await?;
        Ok(())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("kubeconfig", &self.kubeconfig)
            .finish_non_exhaustive()
    }
}

/// A client that follows a kubeconfig.
pub(super) async fn client(kubeconfig: &str) -> Result<Client> {
    let config = Kubeconfig::from_yaml(kubeconfig).context("read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("use the kubeconfig")?).context("make a client")
}
