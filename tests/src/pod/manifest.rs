//! Reading a manifest: the workload in it, and the ConfigMaps and Secrets that its pods mount.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

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

/// The part of a pod's specification that decides what runs and how it is stopped.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The main containers.
    pub containers: Vec<Container>,
    /// Init containers, the native sidecars among them.
    pub init_containers: Vec<Container>,
    /// What containers mount.
    pub volumes: Vec<Value>,
    /// Seconds; Kubernetes' default is 30.
    pub termination_grace_period_seconds: Option<u64>,
}

impl PodSpec {
    /// Every container, init containers first.
    pub fn all(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// Every container that stays: the main ones and the native sidecars.
    pub fn lasting_mut(&mut self) -> impl Iterator<Item = &mut Container> {
        let sidecars = self
            .init_containers
            .iter_mut()
            .filter(|container| container.is_sidecar());
        sidecars.chain(&mut self.containers)
    }

    /// How long the pod may take to end.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.termination_grace_period_seconds.unwrap_or(30))
    }
}

/// A container, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, from which its part in the pod is guessed.
    pub image: String,
    /// The entry point.
    pub command: Vec<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<Variable>,
    /// The ports that it names.
    pub ports: Vec<Port>,
    /// Where its volumes are.
    pub volume_mounts: Vec<Mount>,
    /// Its hooks.
    pub lifecycle: Option<Lifecycle>,
    /// When it is ready.
    pub readiness_probe: Option<Probe>,
    /// `Always` makes an init container a native sidecar.
    pub restart_policy: Option<String>,
    /// Where its last words are.
    pub termination_message_path: Option<String>,
}

impl Container {
    /// Whether this runs Envoy.
    pub fn is_envoy(&self) -> bool {
        image_name(&self.image).starts_with("envoy")
            || self
                .command
                .first()
                .is_some_and(|program| file_name(program) == "envoy")
    }

    /// Whether this is drainhook's sidecar.
    pub fn is_shutdown_manager(&self) -> bool {
        image_name(&self.image) == "shutdown-manager"
            || self
                .command
                .first()
                .is_some_and(|program| file_name(program) == "shutdown-manager")
    }

    /// Whether this is an init container that stays (KEP-753).
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// The hook that is called before the container is told to end.
    pub fn pre_stop(&self) -> Option<&Hook> {
        self.lifecycle.as_ref()?.pre_stop.as_ref()
    }

    /// The number of a port that is given by number or by name.
    pub fn port(&self, port: &Value) -> Option<u16> {
        let number = match port {
            Value::Number(number) => number.as_u64(),
            Value::String(name) => name.parse().ok().or_else(|| {
                self.ports
                    .iter()
                    .find(|port| port.name.as_deref() == Some(name))
                    .map(|port| u64::from(port.container_port))
            }),
            _ => None,
        };
        number.and_then(|number| u16::try_from(number).ok())
    }
}

/// `registry:5000/team/envoy:v1@sha256:..` -> `envoy`
fn image_name(image: &str) -> &str {
    let name = file_name(image.split('@').next().unwrap_or_default());
    name.split(':').next().unwrap_or_default()
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A variable of a container's environment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// Where its value comes from.
    pub value_from: Option<Value>,
}

/// A port that a container names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub container_port: u16,
}

/// Where a volume is mounted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// The volume.
    pub name: String,
    /// The absolute path in the container.
    pub mount_path: String,
    /// The part of the volume that is mounted.
    pub sub_path: Option<String>,
}

/// A container's hooks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// Called before SIGTERM.
    pub pre_stop: Option<Hook>,
}

/// A hook. Kubernetes allows exactly one handler.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hook {
    /// An HTTP request that the kubelet sends.
    HttpGet(HttpGet),
    /// A command in the container.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// A pause.
    Sleep {
        /// Its length.
        seconds: u64,
    },
}

/// When a container counts as ready.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// By an answer of 200 to 399.
    pub http_get: Option<HttpGet>,
    /// By an accepted connection.
    pub tcp_socket: Option<HttpGet>,
}

/// An HTTP request of the kubelet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGet {
    /// The pod's address where it is not given.
    pub host: Option<String>,
    /// The path.
    pub path: Option<String>,
    /// Number or name.
    pub port: Value,
    /// `HTTP` or `HTTPS`.
    pub scheme: Option<String>,
    /// Further headers.
    pub http_headers: Vec<Header>,
}

/// A header of such a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn knows_envoy_and_the_sidecar_by_the_last_part_of_the_image() {
        let container = |image: &str| Container {
            image: image.to_owned(),
            ..Container::default()
        };
        assert!(container("envoyproxy/envoy:v1.40.0").is_envoy());
        assert!(container("docker.io/envoyproxy/envoy-distroless").is_envoy());
        assert!(!container("envoyproxy/gateway:v1").is_envoy());
        assert!(container("ghcr.io/drainhook/shutdown-manager:v1").is_shutdown_manager());
        assert!(!container("envoy/contour:v1").is_envoy());
    }
}
