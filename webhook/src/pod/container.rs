//! One container of a pod.

use serde_json::{Map, Value};

use super::Reader;
use crate::quantity::Quantity;

/// Which list a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Main,
    Init,
}

impl List {
    /// The key in `spec`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Main => "containers",
            Self::Init => "initContainers",
        }
    }
}

/// The fields of a container that are read.
pub(crate) struct Container<'a> {
    pub(crate) list: List,
    pub(crate) index: usize,
    pub(crate) name: &'a str,
    pub(crate) image: &'a str,
    pub(crate) command: Vec<&'a str>,
    pub(crate) args: Vec<&'a str>,
    /// Names and literal values; a value from elsewhere is `None`.
    pub(crate) env: Vec<(&'a str, Option<&'a str>)>,
    pub(crate) ports: Vec<Port<'a>>,
    pub(crate) probes: Vec<Probe<'a>>,
    pub(crate) pre_stop: Option<&'a Value>,
    pub(crate) user: Option<i64>,
    pub(crate) group: Option<i64>,
    /// `seLinuxOptions` of its own.
    pub(crate) selinux: Option<&'a Value>,
    pub(crate) mounts: Vec<&'a Map<String, Value>>,
    pub(crate) raw: &'a Map<String, Value>,
    restart_policy: Option<&'a str>,
}

/// A port that a container declares.
pub(crate) struct Port<'a> {
    pub(crate) number: u16,
    pub(crate) name: Option<&'a str>,
    pub(crate) protocol: &'a str,
    /// Whether it is a port of the node as well.
    pub(crate) on_host: bool,
}

/// The three probes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Liveness,
    Readiness,
    Startup,
}

impl ProbeKind {
    /// The key in the container.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
            Self::Startup => "startupProbe",
        }
    }

    /// Whether the kubelet kills the container when it fails.
    pub(crate) fn kills(self) -> bool {
        self != Self::Readiness
    }
}

/// A probe of a container.
pub(crate) struct Probe<'a> {
    pub(crate) kind: ProbeKind,
    pub(crate) has_grace: bool,
    /// The port that it asks, where it asks one.
    pub(crate) port: Option<u16>,
    /// The path that it asks, where it speaks HTTP.
    pub(crate) path: Option<&'a str>,
}

impl<'a> Container<'a> {
    /// Whether it runs beside the others, and not before them.
    pub(crate) fn is_running(&self) -> bool {
        self.list == List::Main || self.is_native_sidecar()
    }

    /// An init container that goes on running (KEP-753).
    pub(crate) fn is_native_sidecar(&self) -> bool {
        self.list == List::Init && self.restart_policy == Some("Always")
    }

    /// The literal value of a variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&'a str> {
        // Kubernetes lets the last of several hold.
        self.env.iter().rev().find(|(known, _)| *known == name)?.1
    }

    /// The kind of the preStop hook, where there is one.
    pub(crate) fn pre_stop_kind(&self) -> Option<&'static str> {
        let hook = self.pre_stop?;
        let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
        let known = kinds
            .into_iter()
            .find(|kind| hook.get(kind).is_some_and(|v| !v.is_null()));
        Some(known.unwrap_or("unknown"))
    }

    /// A quantity under `resources.limits` or `resources.requests`.
    pub(crate) fn resource(&self, bound: &str, name: &str) -> Option<Quantity> {
        let value = self.raw.get("resources")?.get(bound)?.get(name)?;
        match value {
            Value::String(text) => Quantity::parse(text).ok(),
            Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
            _ => None,
        }
    }
}

impl Reader {
    /// All containers of a list.
    pub(super) fn containers<'a>(
        &mut self,
        spec: &'a Map<String, Value>,
        list: List,
    ) -> Vec<Container<'a>> {
        let items = self.items(spec, list.key(), "spec.");
        items
            .iter()
            .enumerate()
            .filter_map(|(index, value)| self.container(value, list, index))
            .collect()
    }

    fn container<'a>(
        &mut self,
        value: &'a Value,
        list: List,
        index: usize,
    ) -> Option<Container<'a>> {
        let place = format!("spec.{}[{index}]", list.key());
        let raw = self.object(value, &place)?;
        let path = format!("{place}.");
        let Some(name) = self
            .text(raw, "name", &path)
            .filter(|name| !name.is_empty())
        else {
            self.fault(format!("{place} has no name"));
            return None;
        };
        let lifecycle = self.section(raw, "lifecycle", &path);
        let pre_stop = lifecycle.and_then(|map| self.field(map, "preStop"));
        if let Some(hook) = pre_stop {
            self.object(hook, &format!("{path}lifecycle.preStop"));
        }
        let security = self.section(raw, "securityContext", &path);
        let security_path = format!("{path}securityContext.");
        let ports = self.ports(raw, &path);
        Some(Container {
            list,
            index,
            name,
            image: self.text(raw, "image", &path).unwrap_or_default(),
            command: self.words(raw, "command", &path),
            args: self.words(raw, "args", &path),
            env: self.environment(raw, &path),
            probes: self.probes(raw, &path, &ports),
            ports,
            pre_stop,
            user: security.and_then(|map| self.number(map, "runAsUser", &security_path)),
            group: security.and_then(|map| self.number(map, "runAsGroup", &security_path)),
            selinux: security.and_then(|map| self.field(map, "seLinuxOptions")),
            mounts: self.objects(raw, "volumeMounts", &path),
            raw,
            restart_policy: self.text(raw, "restartPolicy", &path),
        })
    }

    fn words<'a>(&mut self, map: &'a Map<String, Value>, key: &str, path: &str) -> Vec<&'a str> {
        let items = self.items(map, key, path);
        let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
        if words.len() < items.len() {
            self.fault(format!("{path}{key} is not a list of texts"));
        }
        words
    }

    fn objects<'a>(
        &mut self,
        map: &'a Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Vec<&'a Map<String, Value>> {
        let items = self.items(map, key, path);
        let objects: Vec<_> = items.iter().filter_map(Value::as_object).collect();
        if objects.len() < items.len() {
            self.fault(format!("{path}{key} is not a list of objects"));
        }
        objects
    }

    fn environment<'a>(
        &mut self,
        raw: &'a Map<String, Value>,
        path: &str,
    ) -> Vec<(&'a str, Option<&'a str>)> {
        let variables = self.objects(raw, "env", path);
        variables
            .into_iter()
            .filter_map(|variable| {
                let name = variable.get("name")?.as_str()?;
                let from_elsewhere = variable
                    .get("valueFrom")
                    .is_some_and(|from| !from.is_null());
                let literal = variable
                    .get("value")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                Some((name, (!from_elsewhere).then_some(literal)))
            })
            .collect()
    }

    fn ports<'a>(&mut self, raw: &'a Map<String, Value>, path: &str) -> Vec<Port<'a>> {
        let ports = self.objects(raw, "ports", path);
        ports
            .into_iter()
            .filter_map(|port| {
                let number = port.get("containerPort")?.as_u64()?;
                Some(Port {
                    number: u16::try_from(number).ok()?,
                    name: port.get("name").and_then(Value::as_str),
                    protocol: port
                        .get("protocol")
                        .and_then(Value::as_str)
                        .unwrap_or("TCP"),
                    on_host: port
                        .get("hostPort")
                        .and_then(Value::as_u64)
                        .is_some_and(|p| p != 0),
                })
            })
            .collect()
    }

    fn probes<'a>(
        &mut self,
        raw: &'a Map<String, Value>,
        path: &str,
        ports: &[Port<'a>],
    ) -> Vec<Probe<'a>> {
        [
            ProbeKind::Liveness,
            ProbeKind::Readiness,
            ProbeKind::Startup,
        ]
        .into_iter()
        .filter_map(|kind| {
            let probe = self.section(raw, kind.key(), path)?;
            let handler = ["httpGet", "tcpSocket", "grpc"]
                .into_iter()
                .find_map(|handler| probe.get(handler)?.as_object());
            let grace = probe.get("terminationGracePeriodSeconds");
            Some(Probe {
                kind,
                has_grace: grace.is_some_and(|grace| !grace.is_null()),
                port: handler.and_then(|handler| port_of(handler.get("port")?, ports)),
                path: probe
                    .get("httpGet")
                    .and_then(|get| get.get("path")?.as_str()),
            })
        })
        .collect()
    }
}

/// The number of a port that is given as number, as text with a number, or by the name of one of
/// the container's own ports.
fn port_of(port: &Value, ports: &[Port<'_>]) -> Option<u16> {
    match port {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.parse().ok().or_else(|| {
            ports
                .iter()
                .find(|port| port.name == Some(text))
                .map(|port| port.number)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Pod;
    use super::*;

    fn with_container<T>(container: Value, look: impl Fn(&Container<'_>) -> T) -> T {
        let mut container = container;
        container["name"] = json!("envoy");
        let pod = json!({"spec": {"containers": [container]}});
        let pod = Pod::read(&pod).unwrap_or_else(|faults| panic!("{faults:?}"));
        look(&pod.containers[0])
    }

    #[test]
    fn a_probes_port_is_found_by_number_text_and_name() {
        let container = json!({
            "ports": [{"name": "http", "containerPort": 8080}],
            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
            "readinessProbe": {"tcpSocket": {"port": 9090}},
            "startupProbe": {"grpc": {"port": 9091}},
        });
        let ports = with_container(container, |container| {
            container
                .probes
                .iter()
                .map(|probe| probe.port)
                .collect::<Vec<_>>()
        });
        assert_eq!(ports, [Some(8080), Some(9090), Some(9091)]);
    }

    #[test]
    fn a_probe_that_runs_a_command_has_no_port() {
        let container = json!({"livenessProbe": {"exec": {"command": ["true"]}}});
        assert_eq!(with_container(container, |c| c.probes[0].port), None);
    }

    #[test]
    fn the_last_of_several_variables_holds() {
        let container = json!({"env": [
            {"name": "A", "value": "1"}, {"name": "A", "value": "2"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "C"},
        ]});
        let values = with_container(container, |container| {
            ["A", "B", "C", "D"].map(|name| container.variable(name).map(str::to_owned))
        });
        assert_eq!(
            values,
            [Some("2".to_owned()), None, Some(String::new()), None]
        );
    }

    #[test]
    fn each_kind_of_hook_is_told_by_its_handler() {
        for kind in ["exec", "httpGet", "tcpSocket", "sleep"] {
            let container = json!({"lifecycle": {"preStop": {kind: {}}}});
            assert_eq!(with_container(container, |c| c.pre_stop_kind()), Some(kind));
        }
        let container = json!({"lifecycle": {"postStart": {"exec": {}}}});
        assert_eq!(with_container(container, |c| c.pre_stop_kind()), None);
    }

    #[test]
    fn a_resource_is_read_as_text_and_as_number() {
        let container = json!({"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}});
        let resources = with_container(container, |container| {
            ["cpu", "memory", "other"].map(|name| {
                container
                    .resource("limits", name)
                    .map(|quantity| quantity.to_string())
            })
        });
        assert_eq!(
            resources,
            [Some("1".to_owned()), Some("1Gi".to_owned()), None]
        );
    }
}
