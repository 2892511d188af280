//! Reading a manifest: the workload in it, and the ConfigMaps and Secrets that its pods mount.

use std::time::Duration;

use serde_json::{Map, Value};

use super::spec::{Container, PodSpec};

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not YAML.
    #[error("the manifest is not YAML: {0}")]
    Yaml(String),
    /// Nothing in it makes pods with Envoy.
    #[error(
        "no Deployment, DaemonSet, StatefulSet, ReplicaSet, Job, CronJob or Pod with an Envoy \
         container in the manifest (Envoy is known by its image or its command)"
    )]
    NoEnvoy,
    /// The pod template has another form than Kubernetes gives it.
    #[error("the pod template of {workload} cannot be read: {source}")]
    Template {
        /// Kind and name.
        workload: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The objects of a manifest, those of lists too.
#[derive(Clone, Debug)]
pub struct Manifest {
    objects: Vec<Value>,
}

/// Something that makes pods, and what a pod of it looks like.
#[derive(Clone, Debug)]
pub struct Workload {
    /// `Deployment`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Labels and annotations of its pods.
    pub annotations: Map<String, Value>,
    /// What its pods run.
    pub spec: PodSpec,
    /// How long a new pod has to be ready before it counts (`minReadySeconds`).
    pub min_ready: Duration,
}

impl Manifest {
    /// Reads YAML or JSON of one or many documents.
    ///
    /// # Errors
    /// Where the text is not YAML.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .map_err(|error| ManifestError::Yaml(error.to_string()))?;
        let mut objects = Vec::new();
        for document in documents {
            flatten(document, &mut objects);
        }
        Ok(Manifest { objects })
    }

    /// The objects themselves.
    pub fn into_objects(self) -> Vec<Value> {
        self.objects
    }

    /// The first workload whose pods run Envoy.
    ///
    /// # Errors
    /// Where there is none, or its pod template is malformed.
    pub fn workload(&self) -> Result<Workload, ManifestError> {
        for object in &self.objects {
            let Some(template) = template(object) else {
                continue;
            };
            let kind = text(object, "/kind");
            let name = text(object, "/metadata/name");
            let spec = template.get("spec").cloned().unwrap_or_default();
            let spec: PodSpec =
                serde_json::from_value(spec).map_err(|source| ManifestError::Template {
                    workload: format!("{kind} {name}"),
                    source,
                })?;
            if !spec.all().any(Container::is_envoy) {
                continue;
            }
            let annotations = template
                .pointer("/metadata/annotations")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            let min_ready = object
                .pointer("/spec/minReadySeconds")
                .and_then(Value::as_u64);
            let min_ready = Duration::from_secs(min_ready.unwrap_or(0));
            return Ok(Workload {
                kind,
                name,
                annotations,
                spec,
                min_ready,
            });
        }
        Err(ManifestError::NoEnvoy)
    }

    /// The text entries of a ConfigMap (`data`) or Secret (`stringData`) of the manifest.
    pub fn entries(&self, kind: &str, name: &str) -> Option<Vec<(String, String)>> {
        let object = self.objects.iter().find(|object| {
            text(object, "/kind") == kind && text(object, "/metadata/name") == name
        })?;
        let field = if kind == "Secret" {
            "/stringData"
        } else {
            "/data"
        };
        let data = object.pointer(field).and_then(Value::as_object);
        Some(
            data.into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
        )
    }
}

fn flatten(document: Value, objects: &mut Vec<Value>) {
    match document {
        Value::Object(mut list)
            if list
                .get("kind")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("List"))
                && list.get("items").is_some_and(Value::is_array) =>
        {
            if let Some(Value::Array(items)) = list.remove("items") {
                for item in items {
                    flatten(item, objects);
                }
            }
        }
        Value::Null => {}
        other => objects.push(other),
    }
}

fn template(object: &Value) -> Option<&Value> {
    object.pointer(template_pointer(object)?)
}

/// The pod template of an object, to change it.
pub fn template_mut(object: &mut Value) -> Option<&mut Value> {
    object.pointer_mut(template_pointer(object)?)
}

fn template_pointer(object: &Value) -> Option<&'static str> {
    match object.get("kind").and_then(Value::as_str)? {
        "Pod" => Some(""),
        "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" | "Job" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Hook;

    const MANIFEST: &str = "
apiVersion: v1
kind: List
items:
- kind: ConfigMap
  metadata: {name: settings}
  data: {a.yaml: 'x: 1'}
- kind: Deployment
  metadata: {name: gateway}
  spec:
    minReadySeconds: 3
    template:
      metadata: {annotations: {drainhook.io/inject: 'true'}}
      spec:
        terminationGracePeriodSeconds: 77
        containers:
        - name: proxy
          image: registry.test:5000/mirror/envoy:v1.40@sha256:00
          ports: [{name: http, containerPort: 8080}]
          lifecycle: {preStop: {sleep: {seconds: 5}}}
---
";

    #[test]
    fn finds_the_workload_with_envoy_and_its_configuration_inside_of_a_list() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let workload = manifest.workload().unwrap();
        assert_eq!(
            (workload.kind.as_str(), workload.name.as_str()),
            ("Deployment", "gateway")
        );
        assert_eq!(workload.min_ready, Duration::from_secs(3));
        assert_eq!(workload.spec.grace(), Duration::from_secs(77));
        assert_eq!(workload.annotations["drainhook.io/inject"], "true");
        let proxy = &workload.spec.containers[0];
        assert!(matches!(proxy.pre_stop(), Some(Hook::Sleep { seconds: 5 })));
        assert_eq!(proxy.port(&Value::from("http")), Some(8080));
        assert_eq!(proxy.port(&Value::from(9901)), Some(9901));
        assert_eq!(
            manifest.entries("ConfigMap", "settings"),
            Some(vec![("a.yaml".to_owned(), "x: 1".to_owned())])
        );
    }

    #[test]
    fn says_so_where_nothing_runs_envoy() {
        let manifest = Manifest::parse("kind: Service\nmetadata: {name: x}\n").unwrap();
        assert!(matches!(manifest.workload(), Err(ManifestError::NoEnvoy)));
    }
}
