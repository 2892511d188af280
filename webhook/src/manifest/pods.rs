//! Where the pods stand in the objects that hold them.

use serde_json::Value;

use super::plan::child;
use crate::workload::pod_pointer;

/// How deep lists may hold lists.
const MAX_LISTS: usize = 16;

/// One pod, or the pod template of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its JSON pointer in the document; `metadata` and `spec` are below it.
    pub pointer: String,
    /// The JSON pointer of the object that holds it, or of itself.
    pub object: String,
    /// The object's kind: `Deployment`.
    pub kind: String,
    /// The object's name; empty where it has none.
    pub name: String,
    /// The object's namespace, where it says one.
    pub namespace: Option<String>,
}

impl Pod {
    /// The object as kubectl writes it: `deployment/web`.
    #[must_use]
    pub fn display(&self) -> String {
        let name = if self.name.is_empty() {
            "(no name)"
        } else {
            &self.name
        };
        format!("{}/{name}", self.kind.to_lowercase())
    }

    /// What a sentence about the pod begins with, where the object has been named.
    #[must_use]
    pub fn subject(&self) -> &'static str {
        match self.kind.as_str() {
            "Pod" => "this pod",
            _ => "its pod",
        }
    }
}

/// All pods and pod templates of a document, also those inside of lists.
#[must_use]
pub fn pods(document: &Value) -> Vec<Pod> {
    let mut pods = Vec::new();
    for_each_object(document, &mut |pointer, object| {
        let Some(template) = pod_pointer(object) else {
            return;
        };
        let pod = format!("{pointer}{template}");
        if document.pointer(&pod).is_none_or(|pod| !pod.is_object()) {
            return;
        }
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let name = text("/metadata/name")
            .or_else(|| text("/metadata/generateName").map(|prefix| format!("{prefix}...")));
        pods.push(Pod {
            pointer: pod,
            object: pointer.to_owned(),
            kind: text("/kind").unwrap_or_default(),
            name: name.unwrap_or_default(),
            namespace: text("/metadata/namespace"),
        });
    });
    pods
}

/// All objects of a kind of a document, also those inside of lists.
#[must_use]
pub fn objects<'v>(document: &'v Value, api_version: &str, kind: &str) -> Vec<&'v Value> {
    let mut pointers = Vec::new();
    for_each_object(document, &mut |pointer, object| {
        if object["apiVersion"] == api_version && object["kind"] == kind {
            pointers.push(pointer.to_owned());
        }
    });
    pointers
        .iter()
        .filter_map(|pointer| document.pointer(pointer))
        .collect()
}

fn for_each_object(document: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    visit_object(document, "", 0, visit);
}

fn visit_object(object: &Value, pointer: &str, lists: usize, visit: &mut dyn FnMut(&str, &Value)) {
    // `List`, `DeploymentList`, kustomize's `ResourceList`, and lists in lists.
    let is_list = object["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match object["items"].as_array() {
        Some(items) if is_list && lists < MAX_LISTS => {
            let items_pointer = child(pointer, "items");
            for (index, item) in items.iter().enumerate() {
                visit_object(
                    item,
                    &child(&items_pointer, &index.to_string()),
                    lists + 1,
                    visit,
                );
            }
        }
        _ => visit(pointer, object),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_found_with_the_name_of_its_object() {
        let object = json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "nightly", "namespace": "shop"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}});
        let found = &pods(&object)[0];
        assert_eq!(found.pointer, "/spec/jobTemplate/spec/template");
        assert_eq!(
            (found.display(), found.namespace.as_deref()),
            ("cronjob/nightly".into(), Some("shop"))
        );
        let without = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}});
        assert_eq!(pods(&without), []);
    }

    #[test]
    fn lists_are_looked_through() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}},
            {"apiVersion": "v1", "kind": "PodList", "items": [pod]},
        ]});
        assert_eq!(pods(&list)[0].pointer, "/items/1/items/0");
        assert_eq!(pods(&list)[0].display(), "pod/a");
        assert_eq!(objects(&list, "v1", "Namespace").len(), 1);
    }

    #[test]
    fn what_is_no_object_holds_no_pods() {
        for value in [
            json!(null),
            json!([1]),
            json!("x"),
            json!({"kind": "List", "items": {}}),
        ] {
            assert_eq!(pods(&value), []);
        }
    }
}
