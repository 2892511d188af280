//! What is read of a cluster: pods, namespaces, and what made the pods.

use std::collections::HashMap;

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

use super::access::in_full;
use super::judge;
use super::mend::Owner;
use crate::cli::exit::{Exit, Failure};
use crate::limits::Limits;
use crate::{KubernetesVersion, Namespace};

/// Objects per page: a page of pods is a few megabytes.
const PAGE: u32 = 250;

/// What is known of the cluster.
pub(super) struct Cluster {
    pub(super) version: Option<KubernetesVersion>,
    /// What could not be asked and is done without.
    pub(super) remarks: Vec<String>,
    namespaces: HashMap<String, Namespace>,
    limits: HashMap<String, Limits>,
    client: Client,
    /// By namespace, kind and name of what a pod names as its owner: its pods share it.
    makers: HashMap<(String, String, String), Maker>,
}

/// What makes a pod, and what of.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    /// The one that a person changes: of a ReplicaSet, the Deployment that made it.
    pub(super) owner: Owner,
    /// Whether its template already holds a sidecar of ours, as `drainhook inject` writes it.
    pub(super) in_template: bool,
}

impl Cluster {
    /// Reads the namespaces, and what limits their pods.
    pub(super) async fn read(client: Client, only: Option<&str>) -> Self {
        let mut remarks = Vec::new();
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
        let limits = limits(&client, only, &mut remarks).await;
        let version = client.apiserver_version().await.ok();
        let version = version.and_then(|it| it.git_version.parse().ok());
        Self {
            version,
            remarks,
            namespaces,
            limits,
            client,
            makers: HashMap::new(),
        }
    }

    /// The pods, of one namespace or of all, page by page.
    pub(super) fn pods(&self, only: Option<&str>) -> Pods {
        Pods(Pages::of(&self.client, only, "Pod"))
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

    /// The quotas and ranges of a namespace, as far as they could be read.
    pub(super) fn limits_of(&self, namespace: &str) -> &Limits {
        const NONE: &Limits = &Limits::NONE;
        self.limits.get(namespace).unwrap_or(NONE)
    }

    /// What makes the pods of which this is the owner.
    pub(super) async fn maker(&mut self, namespace: &str, owner: Owner) -> Maker {
        if !owner.has_template() {
            return Maker {
                owner,
                in_template: false,
            };
        }
        let of = |text: &str| text.to_owned();
        let key = (of(namespace), of(&owner.kind), of(&owner.name));
        if let Some(known) = self.makers.get(&key) {
            return known.clone();
        }
        let maker = self.ask_for_maker(namespace, owner).await;
        self.makers.insert(key, maker.clone());
        maker
    }

    async fn ask_for_maker(&mut self, namespace: &str, owner: Owner) -> Maker {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", &owner.kind));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let object = match api.get_opt(&owner.name).await {
            Ok(object) => object.map(|object| serde_json::json!(object)),
            Err(error) => {
                let remark = format!(
                    "{}s cannot be read, so what made them, and of what, is not known: {}",
                    owner.kind,
                    in_full(&error)
                );
                if !self.remarks.contains(&remark) {
                    self.remarks.push(remark);
                }
                None
            }
        };
        let object = object.unwrap_or_default();
        let template = object.pointer("/spec/template");
        Maker {
            in_template: template.is_some_and(judge::is_injected),
            // A DaemonSet may have an owner, too; a person changes that as the product says.
            owner: match owner.kind.as_str() {
                "ReplicaSet" => Owner::of(&object).unwrap_or(owner),
                _ => owner,
            },
        }
    }
}

/// Pods that run or are to run, not those that have ended or are about to: a few hundred at a time,
/// since those of a whole cluster may be gigabytes.
pub(super) struct Pods(Pages);

impl Pods {
    /// The next page; nothing after the last.
    ///
    /// # Errors
    /// When the pods cannot be listed.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Value>>, Failure> {
        let page = self.0.next().await.map_err(|error| {
            let message = format!("the pods cannot be listed: {}", in_full(&error));
            Failure::new(Exit::Unavailable, message)
        })?;
        Ok(page.map(|pods| pods.into_iter().filter(is_there).collect()))
    }
}

/// The objects of a kind of `v1`, of one namespace or of all, page by page.
struct Pages {
    api: Api<DynamicObject>,
    /// What to ask for next; nothing after the last page.
    next: Option<ListParams>,
}

impl Pages {
    fn of(client: &Client, only: Option<&str>, kind: &str) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
        let client = client.clone();
        Self {
            api: match only {
                Some(namespace) => Api::namespaced_with(client, namespace, &resource),
                None => Api::all_with(client, &resource),
            },
            next: Some(ListParams::default().limit(PAGE)),
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<Value>>, kube::Error> {
        let Some(page) = self.next.take() else {
            return Ok(None);
        };
        let list = self.api.list(&page).await?;
        let token = list.metadata.continue_;
        let token = token.filter(|token| !token.is_empty());
        self.next = token.map(|token| page.continue_token(&token));
        let objects = list
            .items
            .into_iter()
            .map(|object| serde_json::json!(object));
        Ok(Some(objects.collect()))
    }

    /// All pages together.
    async fn all(mut self) -> Result<Vec<Value>, kube::Error> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
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

/// By namespace. Who may see pods may not see these everywhere: that is said once, and done without.
async fn limits(
    client: &Client,
    only: Option<&str>,
    remarks: &mut Vec<String>,
) -> HashMap<String, Limits> {
    let mut objects: HashMap<String, Vec<Value>> = HashMap::new();
    let mut unread = Vec::new();
    for kind in Limits::KINDS {
        match Pages::of(client, only, kind).all().await {
            Ok(all) => {
                for mut object in all {
                    // The items of a list do not say their kind.
                    object["kind"] = kind.into();
                    let (namespace, _) = name(&object);
                    objects.entry(namespace).or_default().push(object);
                }
            }
            Err(error) => unread.push((kind, in_full(&error))),
        }
    }
    if let Some((_, error)) = unread.first() {
        let kinds: Vec<String> = unread.iter().map(|(kind, _)| format!("{kind}s")).collect();
        remarks.push(format!(
            "{} cannot be read, so whether one of them would refuse the sidecar is not known: {error}",
            kinds.join(" and ")
        ));
    }
    let all = objects.into_iter();
    all.map(|(namespace, objects)| (namespace, Limits::of(&objects)))
        .collect()
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
