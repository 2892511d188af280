//! Webhook configurations: reading every `caBundle`, and writing it by server-side apply.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::api::{ApiError, call, patch};
use crate::certificate::{Certificate, bundle_pem};
use crate::rotation::{BundleWrite, Configuration, Entry};

/// A configuration whose `caBundle`s are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigurationName {
    /// A `MutatingWebhookConfiguration`.
    Mutating(String),
    /// A `ValidatingWebhookConfiguration`.
    Validating(String),
}

impl ConfigurationName {
    /// Its name, without the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        let (Self::Mutating(name) | Self::Validating(name)) = self;
        name
    }

    /// The owner reference by which an object goes when this one does.
    pub(super) fn owner(&self, uid: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": self.kind(),
            "name": self.name(),
            "uid": uid,
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Mutating(_) => "MutatingWebhookConfiguration",
            Self::Validating(_) => "ValidatingWebhookConfiguration",
        }
    }
}

impl fmt::Display for ConfigurationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind(), self.name())
    }
}

/// A configuration as it was read.
pub(super) struct Read {
    /// What the planner sees.
    pub(super) configuration: Configuration,
    /// The version that a write has to be made against.
    pub(super) version: Option<String>,
    /// Which object it is: another of the same name has another.
    pub(super) uid: Option<String>,
}

impl Read {
    /// Of which nothing is known but this.
    pub(super) fn only(configuration: Configuration) -> Self {
        Self {
            configuration,
            version: None,
            uid: None,
        }
    }
}

/// Reads a configuration.
pub(super) async fn read(client: &Client, name: &ConfigurationName) -> Result<Read, ApiError> {
    let (entries, version, uid): (Vec<Entry>, _, _) = match name {
        ConfigurationName::Mutating(name) => {
            let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
            let Some(read) = call("get", api.get_opt(name)).await? else {
                return Ok(Read::only(Configuration::Missing));
            };
            let (version, uid) = (read.resource_version(), read.uid());
            let webhooks = read.webhooks.unwrap_or_default();
            let entries = webhooks
                .into_iter()
                .map(|one| entry(one.name, one.client_config));
            (entries.collect(), version, uid)
        }
        ConfigurationName::Validating(name) => {
            let api = Api::<ValidatingWebhookConfiguration>::all(client.clone());
            let Some(read) = call("get", api.get_opt(name)).await? else {
                return Ok(Read::only(Configuration::Missing));
            };
            let (version, uid) = (read.resource_version(), read.uid());
            let webhooks = read.webhooks.unwrap_or_default();
            let entries = webhooks
                .into_iter()
                .map(|one| entry(one.name, one.client_config));
            (entries.collect(), version, uid)
        }
    };
    Ok(Read {
        configuration: Configuration::Found(entries),
        version,
        uid,
    })
}

/// Writes the bundle into every entry, if the configuration still is at `version`.
///
/// Applied is nothing but the names and the bundles: the manager owns no other field, and a
/// `kubectl apply` of a manifest without `caBundle` takes nothing away.
pub(super) async fn write(
    client: &Client,
    manager: &str,
    name: &ConfigurationName,
    version: &str,
    write: &BundleWrite,
) -> Result<(), ApiError> {
    let applied = applied(name, version, write);
    match name {
        ConfigurationName::Mutating(name) => {
            let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
            patch(&api, manager, name, &applied).await.map(drop)
        }
        ConfigurationName::Validating(name) => {
            let api = Api::<ValidatingWebhookConfiguration>::all(client.clone());
            patch(&api, manager, name, &applied).await.map(drop)
        }
    }
}

fn entry(name: String, config: WebhookClientConfig) -> Entry {
    let ByteString(text) = config.ca_bundle.unwrap_or_default();
    match Certificate::parse_pem(&text) {
        Ok(bundle) => {
            // Bytes without a certificate among them are as foreign as another's certificate.
            let garbage = bundle.is_empty() && !text.trim_ascii().is_empty();
            Entry {
                name,
                bundle,
                garbage,
            }
        }
        Err(_) => Entry {
            name,
            bundle: Vec::new(),
            garbage: true,
        },
    }
}

fn applied(name: &ConfigurationName, version: &str, write: &BundleWrite) -> Value {
    let bundle = ByteString(bundle_pem(&write.bundle).into_bytes());
    let webhooks: Vec<_> = write
        .entries
        .iter()
        .map(|entry| json!({"name": entry, "clientConfig": {"caBundle": bundle}}))
        .collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": name.kind(),
        "metadata": {"name": name.name(), "resourceVersion": version},
        "webhooks": webhooks,
    })
}
