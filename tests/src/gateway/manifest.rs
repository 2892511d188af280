//! What a gateway is on a cluster: the workload, its Service, and Envoy's configuration.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use serde_json::{Value, json};

use super::{ADMIN_SOCKET, APPLICATION, Gateway, Ports};
use crate::{
    bootstrap::{Bootstrap, Listener},
    cluster::Images,
    load::SERVED_BY,
};

/// The application's port where it is beside Envoy.
const BESIDE: u16 = 8080;

/// Seconds: an Envoy that waits for a processor on a busy machine is not one that wants no traffic.
const PROBE_TIMEOUT: u32 = 5;

impl Gateway {
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
