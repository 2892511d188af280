//! What the webhook knows of its cluster, told on the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::exit::{Exit, Failure};
use super::input::Manifest;
use crate::annotations::PREFIX;
use crate::manifest::{Pod, namespaces};
use crate::{
    Configuration, InstallationDefaults, KubernetesVersion, Namespace, UnknownKeys, VersionError,
};

/// Where kubectl puts what names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// The installation, the cluster, and the namespaces.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Installation and cluster")]
pub(super) struct InstallationArgs {
    /// The defaults of the annotations: the file that the webhook's installation has
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    defaults: Option<PathBuf>,

    /// A default of an annotation, over those of the file: `--set drain-timeout=60s`
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,

    /// The image of the sidecar: the same as `--set image=IMAGE`
    #[arg(long)]
    image: Option<String>,

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

    /// The namespace of objects that name none
    #[arg(short, long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    namespace: String,

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
}

impl InstallationArgs {
    /// Reads the defaults, and the namespaces that are among the manifests.
    ///
    /// # Errors
    /// All faults of the defaults.
    pub(super) fn read(&self, manifests: &[Manifest]) -> Result<Installation, Failure> {
        let function = Function::of(manifests)?;
        let configuration = Configuration {
            defaults: self.read_defaults(&function)?,
            kubernetes: self.kubernetes_version.or(function.kubernetes),
            image_choice: self.image_choice,
            unknown_keys: self.unknown_keys,
        };
        Ok(Installation {
            default_namespace: self.namespace.clone(),
            otherwise: Namespace {
                name: String::new(),
                labels: self.namespace_label.iter().cloned().collect(),
                annotations: self.namespace_annotation.iter().cloned().collect(),
            },
            ..Installation::new(configuration, manifests)
        })
    }

    fn read_defaults(&self, function: &Function) -> Result<InstallationDefaults, Failure> {
        let mut defaults = Map::new();
        if let Some(path) = &self.defaults {
            let fault = |exit, fault: &dyn std::fmt::Display| {
                Failure::new(exit, format!("{}: {fault}", path.display()))
            };
            let text = std::fs::read_to_string(path).map_err(|e| fault(Exit::NoInput, &e))?;
            InstallationDefaults::parse(&text).map_err(|e| fault(Exit::Usage, &e))?;
            match crate::yaml::read(&text) {
                Ok(Value::Object(entries)) => {
                    let named = entries.into_iter();
                    defaults.extend(named.map(|(key, value)| (bare(&key).to_owned(), value)));
                }
                Ok(_) => {}
                Err(error) => return Err(fault(Exit::Usage, &error)),
            }
        }
        for (key, value) in &function.defaults {
            defaults.insert(key.clone(), value.clone());
        }
        let image = self
            .image
            .iter()
            .map(|image| ("image".to_owned(), image.clone()));
        for (key, value) in self.set.iter().cloned().chain(image) {
            defaults.insert(bare(&key).to_owned(), Value::String(value));
        }
        let text = Value::Object(defaults).to_string();
        // The file has been read alone: what is wrong now came on top of it.
        let place = if function.defaults.is_empty() {
            "--set, --image"
        } else {
            FUNCTION_CONFIG
        };
        InstallationDefaults::parse(&text).map_err(|error| {
            let messages = error.faults.iter().map(|fault| format!("{place}: {fault}"));
            Failure {
                exit: Exit::Usage,
                messages: messages.collect(),
            }
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
    /// With the namespaces that are among the manifests.
    pub(super) fn new(configuration: Configuration, manifests: &[Manifest]) -> Self {
        let objects = manifests.iter().flat_map(|manifest| &manifest.documents);
        let objects = objects.flat_map(|document| namespaces(&document.value));
        let known = objects
            .map(Namespace::from_object)
            .map(|n| (n.name.clone(), n))
            .collect();
        Self {
            configuration,
            default_namespace: DEFAULT_NAMESPACE.to_owned(),
            otherwise: Namespace::default(),
            known,
        }
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

fn bare(key: &str) -> &str {
    key.strip_prefix(PREFIX).unwrap_or(key)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn unknown_keys(text: &str) -> Result<UnknownKeys, String> {
    match text {
        "deny" => Ok(UnknownKeys::Deny),
        "warn" => Ok(UnknownKeys::Warn),
        _ => Err("allowed are deny and warn".to_owned()),
    }
}
