//! The container that is added: what it runs as, what it may use, what it is told.

mod identity;
mod resources;

use serde_json::{Map, Value, json};

pub(crate) use identity::{Identity, identity};
use resources::resources;

use crate::decision::{Fault, RejectReason};
use crate::envoy::Envoy;
use crate::hook::HookForm;
use crate::message::quoted;
use crate::pod::{Container, List, Pod};
use crate::settings::Settings;
use crate::value::AdminAddress;

/// The container's name, and that of its port.
pub(crate) const NAME: &str = "shutdown-manager";
const PORT_NAME: &str = "drain";

/// What all of the sidecar's variables begin with.
pub(crate) const VARIABLES: &str = "SHUTDOWN_MANAGER_";

/// A sidecar whose probe fails is hung: it is killed after this, in seconds, and not after the
/// pod's grace period. While a pod ends the kubelet no longer probes, so no drain is cut short.
const PROBE_GRACE: i64 = 10;

/// Probed seldom, and patiently: a slow node is no reason to restart what only waits.
const PROBE_PERIOD: i64 = 10;
const PROBE_TIMEOUT: i64 = 5;
const PROBE_FAILURES: i64 = 3;

/// All that the container is made from.
pub(crate) struct Blueprint<'p> {
    pub(crate) pod: &'p Pod<'p>,
    pub(crate) envoys: &'p [Envoy<'p>],
    pub(crate) settings: &'p Settings,
    pub(crate) identity: Identity,
    pub(crate) mounts: Vec<Value>,
    pub(crate) hooks: &'p HookForm,
    pub(crate) native: bool,
}

impl Blueprint<'_> {
    /// The container.
    pub(crate) fn container(&self) -> Value {
        let settings = self.settings;
        let mut container = Map::new();
        let mut put = |key: &str, value: Value| container.insert(key.to_owned(), value);
        put("name", json!(NAME));
        put("image", json!(settings.image.value));
        if let Some(policy) = &settings.image_pull_policy {
            put("imagePullPolicy", json!(policy.value.as_str()));
        }
        if self.native {
            put("restartPolicy", json!("Always"));
        }
        put("env", self.environment());
        if !self.hooks.host_network {
            // On the node's network it would become a port of the node.
            put(
                "ports",
                json!([{"name": PORT_NAME, "containerPort": self.hooks.port}]),
            );
        }
        put("livenessProbe", self.probe());
        if let Some(resources) = resources(self.pod, settings) {
            put("resources", resources);
        }
        put("securityContext", self.identity.security_context());
        if !self.mounts.is_empty() {
            put("volumeMounts", json!(self.mounts));
        }
        // A configuration that it refuses is then told where `kubectl describe pod` shows it.
        put("terminationMessagePolicy", json!("FallbackToLogsOnError"));
        Value::Object(container)
    }

    fn environment(&self) -> Value {
        let mut variables = vec![
            ("SHUTDOWN_MANAGER_ADMIN", self.admin()),
            // Always: a Service called shutdown-manager makes the kubelet set this very variable.
            ("SHUTDOWN_MANAGER_PORT", self.hooks.port.to_string()),
        ];
        variables.extend(self.settings.environment());
        let mut quietened: Vec<u16> = self
            .envoys
            .iter()
            .flat_map(|envoy| envoy.quietened.iter().copied())
            .collect();
        quietened.sort_unstable();
        quietened.dedup();
        if !quietened.is_empty() {
            let ports: Vec<String> = quietened.iter().map(u16::to_string).collect();
            variables.push(("SHUTDOWN_MANAGER_QUIETENED_LISTENERS", ports.join(",")));
        }
        if self.hooks.host_network {
            variables.push(("SHUTDOWN_MANAGER_HOST_NETWORK", "true".into()));
        }
        if let Some(token) = &self.hooks.token {
            variables.push((TOKEN_VARIABLE, token.clone()));
        }
        variables
            .iter()
            .map(|(name, value)| variable(name, value))
            .collect()
    }

    fn admin(&self) -> String {
        match self.envoys {
            [only] => only.admin.to_string(),
            several => several
                .iter()
                .map(|envoy| format!("{}={}", envoy.container.name, envoy.admin))
                .collect::<Vec<_>>()
                .join(","),
        }
    }

    fn probe(&self) -> Value {
        let mut get = Map::new();
        if self.hooks.host_network {
            get.insert("host".into(), json!("127.0.0.1"));
        }
        get.insert("path".into(), json!("/healthz"));
        get.insert("port".into(), json!(self.hooks.port));
        json!({
            "httpGet": get,
            "periodSeconds": PROBE_PERIOD,
            "timeoutSeconds": PROBE_TIMEOUT,
            "failureThreshold": PROBE_FAILURES,
            "terminationGracePeriodSeconds": PROBE_GRACE,
        })
    }
}

/// The variable that carries the token.
pub(crate) const TOKEN_VARIABLE: &str = "SHUTDOWN_MANAGER_TOKEN";

/// A variable whose value reaches the process as it is: the kubelet expands `$(NAME)` and takes
/// `$$` for `$`.
pub(crate) fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value.replace('$', "$$")})
}

/// The mounts by which the sidecar reaches the admins' sockets: those that Envoy itself has.
pub(crate) fn socket_mounts(envoys: &[Envoy<'_>]) -> Result<Vec<Value>, Vec<Fault>> {
    let mut mounts: Vec<Value> = Vec::new();
    let mut faults = Vec::new();
    for envoy in envoys {
        let AdminAddress::Unix(path) = &envoy.admin else {
            continue;
        };
        match socket_mount(envoy.container, path) {
            Ok(mount) => {
                let at = |other: &Value| other["mountPath"] == mount["mountPath"];
                match mounts.iter().find(|other| at(other)) {
                    Some(other) if *other == mount => {}
                    Some(_) => faults.push(Fault::new(
                        RejectReason::AdminUnknown,
                        format!(
                            "two Envoys mount different volumes at {}: the sidecar needs the \
                             sockets of both, so give one of them another place",
                            mount["mountPath"]
                        ),
                    )),
                    None => mounts.push(mount),
                }
            }
            Err(fault) => faults.push(Fault::new(RejectReason::AdminUnknown, fault)),
        }
    }
    if faults.is_empty() {
        Ok(mounts)
    } else {
        Err(faults)
    }
}

fn socket_mount(envoy: &Container<'_>, path: &str) -> Result<Value, String> {
    let text = |mount: &Map<String, Value>, key: &str| -> Option<String> {
        Some(mount.get(key)?.as_str()?.to_owned()).filter(|text| !text.is_empty())
    };
    let holds = |mount_path: &str| {
        let directory = mount_path.trim_end_matches('/');
        path.strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/') && !directory.is_empty())
    };
    let mount = envoy
        .mounts
        .iter()
        .filter_map(|mount| Some((text(mount, "mountPath")?, *mount)))
        .filter(|(mount_path, _)| holds(mount_path))
        .max_by_key(|(mount_path, _)| mount_path.trim_end_matches('/').len());
    let Some((mount_path, mount)) = mount else {
        return Err(format!(
            "the admin socket {} of Envoy {} is in none of its volumes, so no other container can \
             reach it: put it into an emptyDir volume that Envoy mounts",
            quoted(path),
            quoted(envoy.name)
        ));
    };
    if text(mount, "subPathExpr").is_some() {
        return Err(format!(
            "the volume with the admin socket {} is mounted by subPathExpr, which another container \
             cannot follow: mount it by subPath or as a whole",
            quoted(path)
        ));
    }
    let mut ours = Map::new();
    ours.insert(
        "name".into(),
        json!(text(mount, "name").unwrap_or_default()),
    );
    ours.insert("mountPath".into(), json!(mount_path));
    if let Some(sub_path) = text(mount, "subPath") {
        ours.insert("subPath".into(), json!(sub_path));
    }
    // Connecting to a socket writes to no file.
    ours.insert("readOnly".into(), json!(true));
    Ok(Value::Object(ours))
}

/// Who has the port that the sidecar needs, in words.
pub(crate) fn port_owner(pod: &Pod<'_>, envoys: &[Envoy<'_>], port: u16) -> Option<String> {
    for container in pod.running().filter(|container| container.name != NAME) {
        let name = quoted(container.name);
        let listed =
            |other: &&crate::pod::Port<'_>| other.number == port && other.protocol == "TCP";
        if container.ports.iter().any(|other| listed(&other)) {
            return Some(format!("container {name} lists it"));
        }
        if let Some(probe) = container
            .probes
            .iter()
            .find(|probe| probe.port == Some(port))
        {
            return Some(format!(
                "the {} of container {name} asks it",
                probe.kind.key()
            ));
        }
    }
    for envoy in envoys {
        let name = quoted(envoy.container.name);
        if matches!(&envoy.admin, AdminAddress::Tcp(address) if address.port() == port) {
            return Some(format!("it is the admin's of Envoy {name}"));
        }
        if envoy.listeners.contains(&port) {
            return Some(format!("a listener of Envoy {name} has it"));
        }
    }
    None
}

/// The list and the place in it where the container goes.
pub(crate) fn home(envoys: &[Envoy<'_>], native: bool) -> (List, crate::draft::Position) {
    use crate::draft::Position;
    if !native {
        return (List::Main, Position::Last);
    }
    // Native sidecars end in reverse order: before an Envoy that is one itself, so as to outlive it.
    let native_envoys = envoys
        .iter()
        .filter(|envoy| envoy.container.list == List::Init);
    match native_envoys.map(|envoy| envoy.container.index).min() {
        Some(index) => (List::Init, Position::At(index)),
        None => (List::Init, Position::Last),
    }
}
