//! Gateways of the shapes that people have. A test says only what is special about its own.
//!
//! [`Gateway`] is a description. On any cluster it is a [`Workload`], which is deployed, rolled and loaded
//! from a [`LoadPod`]; on a [`stage`](crate::stage) what becomes of each of its pods is taken down.

mod load_pod;
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

use crate::{
    bootstrap::{Bootstrap, Listener},
    cluster::Images,
    load::SERVED_BY,
};

/// The application behind every gateway that has none beside it: a Service of the cluster's.
pub const APPLICATION: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 100)), 8080);

/// Where Envoy's admin interface is in the pods that have it on a socket.
const ADMIN_SOCKET: &str = "/run/envoy/admin.sock";

/// The application's port where it is beside Envoy.
const BESIDE: u16 = 8080;

/// Seconds: an Envoy that waits for a processor on a busy machine is not one that wants no traffic.
const PROBE_TIMEOUT: u32 = 5;

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

    /// The workload and its Service.
    pub(crate) fn manifest(&self, namespace: &str, images: &Images, ports: Ports) -> [Value; 2] {
        let metadata = json!({ "name": "gateway", "namespace": namespace });
        let labels = json!({ "app": "gateway" });
        let (kind, strategy) = match self.daemon_set {
            true => ("DaemonSet", json!({})),
            false => (
                "Deployment",
                json!({ "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } }),
            ),
        };
        let mut workload = json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": metadata,
            "spec": { "selector": { "matchLabels": labels }, "template": self.template(namespace, images, ports) },
        });
        if !self.daemon_set {
            workload["spec"]["replicas"] = json!(self.replicas);
            workload["spec"]["strategy"] = strategy;
        }
        if let Some(inject) = &self.injected {
            workload = inject(&workload);
        }
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "selector": labels,
                "ports": [
                    { "name": "http", "port": 80, "targetPort": ports.traffic },
                    { "name": "tcp", "port": 81, "targetPort": ports.tcp },
                ],
            },
        });
        [workload, service]
    }

    fn template(&self, scene: &str, images: &Images, ports: Ports) -> Value {
        // For what works on the pods of all namespaces, such as the drain of a node.
        let labels = json!({ "app": "gateway", "scene": scene });
        let mut annotations = self.annotations.clone();
        if self.daemon_set && !annotations.is_empty() {
            annotations.insert("drainhook.io/port".to_owned(), ports.sidecar.to_string());
        }
        let mut containers = vec![self.envoy("envoy", images, &self.outer(ports))];
        containers[0]["ports"] = json!([{ "name": "http", "containerPort": ports.traffic }]);
        containers[0]["readinessProbe"] = json!({
            "httpGet": { "path": "/ready", "port": ports.ready },
            "periodSeconds": 1,
            "timeoutSeconds": PROBE_TIMEOUT,
        });
        if self.two_envoys {
            let mut inner = self.envoy("inner", images, &self.inner(ports));
            inner["readinessProbe"] = listens(ports.inner.0);
            containers.push(inner);
        }
        if self.beside {
            containers.push(json!({
                "name": "application",
                "image": images.tools.reference(),
                "args": ["serve", format!("0.0.0.0:{BESIDE}")],
                "resources": { "requests": { "cpu": "50m" } },
                "readinessProbe": listens(BESIDE),
            }));
        }
        let mut template = json!({
            "metadata": { "labels": labels, "annotations": annotations },
            "spec": { "hostNetwork": self.daemon_set, "containers": containers },
        });
        for edit in &self.edits {
            edit(&mut template);
        }
        template
    }

    fn envoy(&self, name: &str, images: &Images, bootstrap: &Value) -> Value {
        // What is shared among the Envoys of one network is for restarts without a pause, which
        // nobody does in a container.
        let arguments = ["--disable-hot-restart", "--concurrency", "2"];
        let mut container = json!({
            "name": name,
            "image": images.envoy.reference(),
            // Without a request a busy machine would leave it next to nothing.
            "resources": { "requests": { "cpu": "50m" } },
            "args": ["--config-yaml", bootstrap.to_string()],
        });
        if let Some(args) = container["args"].as_array_mut() {
            args.extend(arguments.map(Value::from));
        }
        container
    }

    fn application(&self) -> SocketAddr {
        match self.beside {
            true => here(BESIDE),
            false => APPLICATION,
        }
    }

    /// The Envoy that clients meet. Each answer says which pod has given it.
    fn outer(&self, ports: Ports) -> Value {
        let next = match self.two_envoys {
            true => here(ports.inner.0),
            false => self.application(),
        };
        let bootstrap = match self.socket {
            true => Bootstrap::new().admin_socket(Path::new(ADMIN_SOCKET)),
            false => Bootstrap::new().admin(here(ports.admin)),
        };
        let mut value = bootstrap
            .listener(Listener::http("traffic", everywhere(ports.traffic), "next"))
            .listener(Listener::tcp("tcp", everywhere(ports.tcp), "next"))
            // Contour's manager does not count what goes by this name.
            .listener(
                Listener::http("ready", everywhere(ports.ready), "admin")
                    .http_stat_prefix("health"),
            )
            .cluster("next", next)
            // Where `CONNECT` goes, which nobody sends.
            .cluster("tunnel", next)
            .cluster("admin", here(ports.admin))
            .value();
        let address = value["admin"]["address"].clone();
        let resources = &mut value["static_resources"];
        resources["clusters"][2]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            ["address"] = address;
        let manager = &mut resources["listeners"][0]["filter_chains"][0]["filters"][0];
        manager["typed_config"]["route_config"]["response_headers_to_add"] = json!([{
            "header": { "key": SERVED_BY.as_str(), "value": "%DOWNSTREAM_LOCAL_ADDRESS%" },
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }]);
        value
    }

    fn inner(&self, ports: Ports) -> Value {
        let (traffic, admin) = ports.inner;
        Bootstrap::new()
            .admin(here(admin))
            .listener(Listener::http("inner", everywhere(traffic), "application"))
            .cluster("application", self.application())
            .cluster("tunnel", self.application())
            .value()
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

/// A probe of what cannot say more about itself.
fn listens(port: u16) -> Value {
    json!({ "tcpSocket": { "port": port }, "periodSeconds": 1, "timeoutSeconds": PROBE_TIMEOUT })
}

fn here(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}
