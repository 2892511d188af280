//! Gateways of the shapes that people have. A test says only what is special about its own.
//!
//! [`Gateway`] is a description. On any cluster it is a [`Workload`], which is deployed, rolled and loaded
//! from a [`LoadPod`]; on a [`stage`](crate::stage) what becomes of each of its pods is taken down.

mod load_pod;
mod manifest;
mod state;
mod workload;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use serde_json::{Value, json};

pub use load_pod::LoadPod;
pub use state::{has_drain, is_ready};
pub use workload::Workload;

/// The application behind every gateway that has none beside it: a Service of the cluster's.
pub const APPLICATION: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 100)), 8080);

/// Where Envoy's admin interface is in the pods that have it on a socket.
const ADMIN_SOCKET: &str = "/run/envoy/admin.sock";

/// A change of a pod template.
type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// What makes a patched workload of one.
type Injection = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// A gateway: Envoy with an HTTP listener that speaks HTTP/1.1, HTTP/2 and websockets, a TCP
/// listener and one for probes, in front of an application, behind a Service. By default it is a
/// Deployment of two pods that asks for its drain by annotation.
#[derive(Clone)]
pub struct Gateway {
    replicas: u32,
    annotations: BTreeMap<String, String>,
    daemon_set: bool,
    beside: bool,
    two_envoys: bool,
    socket: bool,
    edits: Vec<Edit>,
    injected: Option<Injection>,
    ports: Option<Ports>,
}

/// The ports of a gateway's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// HTTP.
    pub traffic: u16,
    /// TCP, as it is.
    pub tcp: u16,
    /// `GET /ready` is Envoy's own answer to whether it wants traffic.
    pub ready: u16,
    /// Envoy's admin interface, on the loopback interface.
    pub admin: u16,
    /// The second Envoy's, where there are two, and its traffic.
    pub inner: (u16, u16),
    /// The sidecar's.
    pub sidecar: u16,
}

const PORTS: Ports = Ports {
    traffic: 8000,
    tcp: 8001,
    ready: 8002,
    admin: 9901,
    inner: (8003, 9902),
    sidecar: 8090,
};

/// A liveness probe that soon has enough, but does not take a machine that is busy for one that hangs.
pub fn strict_probe(path: &str, port: u16) -> Value {
    json!({
        "httpGet": { "path": path, "port": port },
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    })
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}

impl Gateway {
    /// A Deployment of two pods.
    pub fn new() -> Self {
        let opted_in = ("drainhook.io/inject".to_owned(), "true".to_owned());
        Self {
            replicas: 2,
            annotations: [opted_in].into(),
            daemon_set: false,
            beside: false,
            two_envoys: false,
            socket: false,
            edits: Vec::new(),
            injected: None,
            ports: None,
        }
    }

    /// How many pods.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// An annotation of the pods: `min-drain` for `drainhook.io/min-drain`.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        let key = format!("drainhook.io/{key}");
        self.annotations.insert(key, value.to_owned());
        self
    }

    /// Without any annotation of drainhook's.
    #[must_use]
    pub fn not_annotated(mut self) -> Self {
        self.annotations.clear();
        self
    }

    /// A DaemonSet on the network of its nodes, at ports that no other scene has.
    #[must_use]
    pub fn daemon_set(mut self) -> Self {
        self.daemon_set = true;
        self
    }

    /// The application is in the pod, and Envoy sends to it there.
    #[must_use]
    pub fn beside_its_application(mut self) -> Self {
        self.beside = true;
        self
    }

    /// Two Envoys in each pod: `envoy` sends to `inner`, which sends to the application.
    #[must_use]
    pub fn two_envoys(mut self) -> Self {
        self.two_envoys = true;
        self.annotation("envoy", "envoy,inner").annotation(
            "admin",
            &format!("envoy={},inner={}", PORTS.admin, PORTS.inner.1),
        )
    }

    /// The admin interface is on a unix socket, and Envoy runs as a user of its own.
    #[must_use]
    pub fn admin_on_a_socket(mut self) -> Self {
        self.socket = true;
        self.edit(|template| {
            let spec = &mut template["spec"];
            spec["securityContext"] =
                json!({ "runAsUser": 101, "runAsGroup": 101, "fsGroup": 101 });
            spec["volumes"] = json!([{ "name": "admin", "emptyDir": {} }]);
            let directory = Path::new(ADMIN_SOCKET).parent().map(Path::to_owned);
            let mount = json!({ "name": "admin", "mountPath": directory });
            spec["containers"][0]["volumeMounts"] = json!([mount]);
        })
    }

    /// As Pod Security "restricted" asks for.
    #[must_use]
    pub fn restricted(self) -> Self {
        self.edit(|template| {
            for container in containers(template) {
                container["securityContext"] = restricted();
            }
        })
    }

    /// With this preStop hook on Envoy, and on an application beside it, which must not go before.
    #[must_use]
    pub fn pre_stop(self, hook: Value) -> Self {
        self.edit(move |template| {
            for container in containers(template) {
                container["lifecycle"]["preStop"] = hook.clone();
            }
        })
    }

    /// Its pods listen at these ports.
    #[must_use]
    pub fn at(mut self, ports: Ports) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Changes the pod template in another way.
    #[must_use]
    pub fn edit(mut self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.edits.push(Arc::new(edit));
        self
    }

    /// Patches the workload before it is applied.
    #[must_use]
    pub fn injected(mut self, inject: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        self.injected = Some(Arc::new(inject));
        self
    }

    /// `deployment/gateway` or `daemonset/gateway`: how kubectl calls it.
    pub fn resource(&self) -> &'static str {
        match self.daemon_set {
            true => "daemonset/gateway",
            false => "deployment/gateway",
        }
    }

    /// Whether its pods are on the network of their nodes.
    pub(crate) fn is_on_host_network(&self) -> bool {
        self.daemon_set
    }

    /// The ports of its pods in scene `number`.
    pub(crate) fn ports(&self, number: u16) -> Ports {
        if !self.daemon_set {
            return self.ports.unwrap_or(PORTS);
        }
        let base = 20_000 + number * 10;
        Ports {
            traffic: base,
            tcp: base + 1,
            ready: base + 2,
            admin: base + 3,
            inner: (base + 4, base + 5),
            sidecar: base + 6,
        }
    }
}

/// What Pod Security "restricted" asks of a container.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "runAsNonRoot": true,
        "runAsUser": 65_532,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn containers(template: &mut Value) -> impl Iterator<Item = &mut Value> {
    let containers = template["spec"]["containers"].as_array_mut();
    containers.into_iter().flatten()
}
