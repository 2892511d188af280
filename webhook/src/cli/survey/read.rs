//! What is read of a cluster: pods, namespaces, and what made the pods.

use std::collections::HashMap;

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

use super::access::in_full;
use super::mend::Owner;
use crate::cli::exit::{Exit, Failure};
use crate::{KubernetesVersion, Namespace};

/// Objects per page: a page of pods is a few megabytes.
const PAGE: u32 = 250;

/// What is known of the cluster.
pub(super) struct Cluster {
    /// Pods that run or are to run: not those that have ended or are about to.
    pub(super) pods: Vec<Value>,
    pub(super) version: Option<KubernetesVersion>,
    /// What could not be asked and is done without.
    pub(super) remarks: Vec<String>,
    namespaces: HashMap<String, Namespace>,
    client: Client,
    /// What made a ReplicaSet, by namespace and name: its pods share it.
    makers: HashMap<(String, String), Option<Owner>>,
}

impl Cluster {
    /// Reads pods and namespaces.
    ///
    /// # Errors
    /// When the pods cannot be listed.
    pub(super) async fn read(client: Client, only: Option<&str>) -> Result<Self, Failure> {
        let mut remarks = Vec::new();
        let pods = pods(&client, only).await?;
        let namespaces = match namespaces(&client, only).await {
            Ok(namespaces) => namespaces,
            Err(error) => {
                remarks.push(format!(
                    "the namespaces cannot be read, so pods that only their namespace opts in are \
                     missed: {}",
                    in_full(&error)
                ));
                HashMap::new()
            }
        };
        let version = client.apiserver_version().await.ok();
        let version = version.and_then(|it| it.git_version.parse().ok());
        Ok(Self {
            pods,
            version,
            remarks,
            namespaces,
            client,
            makers: HashMap::new(),
        })
    }

    /// The namespace that a pod is in.
    pub(super) fn namespace_of(&self, pod: &Value) -> Namespace {
        let (name, _) = name(pod);
        self.namespaces
            .get(&name)
            .cloned()
            .unwrap_or_else(|| Namespace {
                name,
                ..Namespace::default()
            })
    }

    /// What made a pod: its controller, or that one's where it is a ReplicaSet.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(super) async fn owner_of(&mut self, pod: &Value) -> Result<Option<Owner>, Failure> {
        let Some(owner) = Owner::of(pod) else {
            return Ok(None);
        };
        if owner.kind != "ReplicaSet" || !owner.is_of("apps") {
            return Ok(Some(owner));
        }
        let (namespace, _) = name(pod);
        let key = (namespace.clone(), owner.name.clone());
        if let Some(known) = self.makers.get(&key) {
            return Ok(Some(known.clone().unwrap_or(owner)));
        }
        let kind = GroupVersionKind::gvk("apps", "v1", "ReplicaSet");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &resource);
        let maker = match api.get_opt(&owner.name).await {
            Ok(set) => set.and_then(|set| Owner::of(&serde_json::json!(set))),
            Err(error) => {
                let remark = format!(
                    "ReplicaSets cannot be read, so what made them is not known: {}",
                    in_full(&error)
                );
                if !self.remarks.contains(&remark) {
                    self.remarks.push(remark);
                }
                None
            }
        };
        self.makers.insert(key, maker.clone());
        Ok(Some(maker.unwrap_or(owner)))
    }
}

/// Namespace and name of an object.
pub(super) fn name(object: &Value) -> (String, String) {
    let text = |pointer: &str| {
        let value = object.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    (text("/metadata/namespace"), text("/metadata/name"))
}

async fn pods(client: &Client, only: Option<&str>) -> Result<Vec<Value>, Failure> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let api: Api<DynamicObject> = match only {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let failure = |error: kube::Error| {
        let message = format!("the pods cannot be listed: {}", in_full(&error));
        Failure::new(Exit::Unavailable, message)
    };
    let mut pods = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await.map_err(failure)?;
        let values = list.items.iter().map(|pod| serde_json::json!(pod));
        pods.extend(values.filter(is_there));
        match list.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok(pods),
        }
    }
}

/// Whether a pod has neither ended nor been told to: nothing can be mended in it any more.
fn is_there(pod: &Value) -> bool {
    let ended = matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    !ended && pod["metadata"]["deletionTimestamp"].is_null()
}

async fn namespaces(
    client: &Client,
    only: Option<&str>,
) -> Result<HashMap<String, Namespace>, kube::Error> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let objects = match only {
        Some(name) => vec![api.get(name).await?],
        None => api.list(&ListParams::default()).await?.items,
    };
    let named = objects
        .iter()
        .map(|object| Namespace::from_object(&serde_json::json!(object)));
    Ok(named.map(|one| (one.name.clone(), one)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_have_ended_or_are_about_to_are_passed_over() {
        let pod = |phase: &str| json!({"metadata": {}, "status": {"phase": phase}});
        assert!(is_there(&pod("Running")) && is_there(&pod("Pending")));
        assert!(!is_there(&pod("Succeeded")) && !is_there(&pod("Failed")));
        let mut ending = pod("Running");
        ending["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
        assert!(!is_there(&ending));
    }
}
