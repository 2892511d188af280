//! Where the pod is in an object: the object itself, or the template of a workload.

use serde_json::Value;

/// The JSON pointer to the pod in an object of this `apiVersion` and kind; empty for a Pod itself,
/// `None` for what has no pod.
#[must_use]
pub fn pod_pointer(object: &Value) -> Option<&'static str> {
    let version = object.get("apiVersion")?.as_str()?;
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, object.get("kind")?.as_str()?) {
        ("", "Pod") => Some(""),
        ("", "PodTemplate") => Some("/template"),
        ("", "ReplicationController") => Some("/spec/template"),
        ("apps" | "extensions", "Deployment" | "DaemonSet" | "ReplicaSet")
        | ("apps", "StatefulSet")
        | ("batch", "Job") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// The pod or pod template of an object.
#[must_use]
pub fn pod_of(object: &Value) -> Option<&Value> {
    object.pointer(pod_pointer(object)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pod_is_found_in_every_kind() {
        for (version, kind, pointer) in [
            ("v1", "Pod", ""),
            ("v1", "PodTemplate", "/template"),
            ("v1", "ReplicationController", "/spec/template"),
            ("apps/v1", "Deployment", "/spec/template"),
            ("apps/v1", "DaemonSet", "/spec/template"),
            ("apps/v1", "ReplicaSet", "/spec/template"),
            ("apps/v1", "StatefulSet", "/spec/template"),
            ("batch/v1", "Job", "/spec/template"),
            ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template"),
        ] {
            let object = json!({"apiVersion": version, "kind": kind});
            assert_eq!(pod_pointer(&object), Some(pointer), "{kind}");
        }
    }

    #[test]
    fn what_has_no_pod_is_left_alone() {
        for object in [
            json!({"apiVersion": "v1", "kind": "Service"}),
            json!({"apiVersion": "example.org/v1", "kind": "Deployment"}),
            json!({"kind": "Pod"}),
            json!([]),
        ] {
            assert_eq!(pod_pointer(&object), None, "{object}");
        }
    }
}
