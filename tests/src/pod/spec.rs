//! The part of a pod's specification that decides what runs and how it is stopped. All other fields
//! are passed over.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

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
