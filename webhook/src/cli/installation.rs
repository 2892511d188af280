//! What the webhook knows of its cluster, told on the command line.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::defaults::{DefaultsArgs, bare, pair};
use super::exit::{Exit, Failure};
use super::input::Manifest;
use crate::limits::Limits;
use crate::manifest::{Pod, objects};
use crate::{Configuration, KubernetesVersion, Namespace, UnknownKeys, VersionError};

/// Where kubectl puts what names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// The installation, the cluster, and the namespaces.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Installation and cluster")]
pub(super) struct InstallationArgs {
    #[command(flatten)]
    defaults: DefaultsArgs,

    /// Let pods and namespaces choose the image of the sidecar
    #[arg(long)]
    image_choice: bool,

    /// The version of the cluster, say 1.32: says whether native sidecars work; without it the
    /// sidecar is a regular container
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<KubernetesVersion>,

    /// What becomes of annotations under `drainhook.io/` that this version does not know
    #[arg(long, value_name = "WHAT", value_parser = unknown_keys, default_value = "deny")]
    #[arg(hide_possible_values = true)]
    unknown_keys: UnknownKeys,

    /// The namespace of objects that name none [default: default]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,

    /// A label of the namespaces that are not among the manifests: `drainhook.io/inject=enabled`
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    namespace_label: Vec<(String, String)>,

    /// An annotation of the namespaces that are not among the manifests
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    namespace_annotation: Vec<(String, String)>,
}

/// Everything that a decision needs besides the pod.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    pub(super) configuration: Configuration,
    default_namespace: String,
    /// What is said of namespaces that are not among the manifests.
    otherwise: Namespace,
    known: BTreeMap<String, Namespace>,
    /// ResourceQuotas and LimitRanges.
    limits: Vec<Value>,
}

impl InstallationArgs {
    /// The namespace that was named.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Reads the defaults, and of the manifests the namespaces and what limits their pods.
    ///
    /// # Errors
    /// All faults of the defaults.
    pub(super) fn read(&self, manifests: &[Manifest]) -> Result<Installation, Failure> {
        let function = Function::of(manifests)?;
        let configuration = Configuration {
            defaults: self
                .defaults
                .read(manifests, &function.defaults, FUNCTION_CONFIG)?,
            kubernetes: self.kubernetes_version.or(function.kubernetes),
            image_choice: self.image_choice,
            unknown_keys: self.unknown_keys,
        };
        Ok(Installation {
            default_namespace: self.namespace().unwrap_or(DEFAULT_NAMESPACE).to_owned(),
            otherwise: Namespace {
                name: String::new(),
                labels: self.namespace_label.iter().cloned().collect(),
                annotations: self.namespace_annotation.iter().cloned().collect(),
            },
            ..Installation::new(configuration, manifests)
        })
    }
}

/// What kustomize's `functionConfig` says: the `data` of a ConfigMap, with the keys of the
/// annotations and `kubernetes-version`.
#[derive(Debug, Default)]
struct Function {
    defaults: Map<String, Value>,
    kubernetes: Option<KubernetesVersion>,
}

/// The member of a ResourceList that configures the function.
const FUNCTION_CONFIG: &str = "functionConfig";

impl Function {
    fn of(manifests: &[Manifest]) -> Result<Self, Failure> {
        let mut function = Self::default();
        let documents = manifests.iter().flat_map(|manifest| &manifest.documents);
        let lists = documents.filter(|document| document.value["kind"] == "ResourceList");
        for data in lists.filter_map(|list| list.value[FUNCTION_CONFIG]["data"].as_object()) {
            for (key, value) in data {
                if key != "kubernetes-version" {
                    function
                        .defaults
                        .insert(bare(key).to_owned(), value.clone());
                    continue;
                }
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                let version = text.parse().map_err(|error: VersionError| {
                    Failure::new(Exit::Usage, format!("{FUNCTION_CONFIG}: {key}: {error}"))
                })?;
                function.kubernetes = Some(version);
            }
        }
        Ok(function)
    }
}

impl Installation {
    /// With the namespaces that are among the manifests, and what limits their pods.
    pub(super) fn new(configuration: Configuration, manifests: &[Manifest]) -> Self {
        let documents = || manifests.iter().flat_map(|manifest| &manifest.documents);
        let known = documents()
            .flat_map(|document| objects(&document.value, "v1", "Namespace"))
            .map(Namespace::from_object)
            .map(|n| (n.name.clone(), n))
            .collect();
        let limits = Limits::KINDS.into_iter().flat_map(|kind| {
            documents().flat_map(move |document| objects(&document.value, "v1", kind))
        });
        Self {
            configuration,
            default_namespace: DEFAULT_NAMESPACE.to_owned(),
            otherwise: Namespace::default(),
            known,
            limits: limits.cloned().collect(),
        }
    }

    /// What the quotas and ranges of a namespace ask of its pods.
    pub(super) fn limits_of(&self, namespace: &str) -> Limits {
        let is_there = |object: &&Value| {
            let own = object["metadata"]["namespace"].as_str();
            own.unwrap_or(&self.default_namespace) == namespace
        };
        Limits::of(self.limits.iter().filter(is_there))
    }

    /// The namespace that a pod will be in.
    pub(super) fn namespace_of(&self, pod: &Pod) -> Namespace {
        let name = pod.namespace.as_deref().unwrap_or(&self.default_namespace);
        match self.known.get(name) {
            Some(namespace) => namespace.clone(),
            None => Namespace {
                name: name.to_owned(),
                ..self.otherwise.clone()
            },
        }
    }
}

fn unknown_keys(text: &str) -> Result<UnknownKeys, String> {
    match text {
        "deny" => Ok(UnknownKeys::Deny),
        "warn" => Ok(UnknownKeys::Warn),
        _ => Err("allowed are deny and warn".to_owned()),
    }
}
