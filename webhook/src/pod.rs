//! A pod as far as the decision reads it: a view that borrows from the raw object.
//!
//! Only what is read is looked at, and nothing is ever written back from here: a field that this
//! version does not know stays where it is. What is read and has the wrong form is told with its
//! place; the API server has refused such a pod long before, so only a manifest's author sees it.

mod container;

use serde_json::{Map, Value};

pub(crate) use container::{Container, List, Port};

use crate::message::quoted;

/// Mirror pods carry this: the kubelet has already started what they show.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Set by the kubelet on pods that it read from a file or a URL.
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// Kubernetes gives a pod so many seconds to end when it does not say.
pub(crate) const DEFAULT_GRACE: i64 = 30;

/// Containers, init containers included. Pods have a handful; a drain is drafted by looking each of
/// them up among all others.
const MOST_CONTAINERS: usize = 250;

/// The annotations of a pod, ours and all others.
pub(crate) struct Metadata<'a> {
    annotations: Option<&'a Map<String, Value>>,
}

/// What stands in a pod's `spec`.
pub(crate) struct Pod<'a> {
    pub(crate) containers: Vec<Container<'a>>,
    /// The value of `terminationGracePeriodSeconds`, where it is set.
    pub(crate) grace: Option<i64>,
    pub(crate) host_network: bool,
    pub(crate) restart_policy: &'a str,
    pub(crate) windows: bool,
    /// `spec.resources`: the pod as a whole has resources.
    pub(crate) has_resources: bool,
    pub(crate) user: Option<i64>,
    pub(crate) group: Option<i64>,
    pub(crate) pull_secrets: Vec<&'a str>,
}

impl<'a> Metadata<'a> {
    /// Reads a pod's metadata.
    ///
    /// # Errors
    /// Each thing that has the wrong form.
    pub(crate) fn read(pod: &'a Value) -> Result<Self, Vec<String>> {
        let mut reader = Reader::default();
        let root = reader.object(pod, "the pod");
        let metadata = root.and_then(|root| reader.field(root, "metadata"));
        let metadata = metadata.and_then(|value| reader.object(value, "metadata"));
        let annotations = metadata.and_then(|map| reader.texts(map, "annotations"));
        reader.finish(Self { annotations })
    }

    /// All annotations.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let text = |(key, value): (&'a String, &'a Value)| Some((key.as_str(), value.as_str()?));
        self.annotations.into_iter().flatten().filter_map(text)
    }

    /// One annotation.
    pub(crate) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations?.get(key)?.as_str()
    }

    /// Whether this only shows what a kubelet started by itself.
    pub(crate) fn is_static(&self) -> bool {
        let from_kubelet = |source: &str| source != "api";
        self.annotation(MIRROR).is_some()
            || self.annotation(CONFIG_SOURCE).is_some_and(from_kubelet)
    }
}

impl<'a> Pod<'a> {
    /// Reads a pod's `spec`.
    ///
    /// # Errors
    /// Each thing that has the wrong form.
    pub(crate) fn read(pod: &'a Value) -> Result<Self, Vec<String>> {
        let mut reader = Reader::default();
        let Some(spec) = pod.get("spec").and_then(Value::as_object) else {
            return Err(vec!["spec is missing or is not an object".into()]);
        };
        let count = |list: List| {
            let items = spec.get(list.key()).and_then(Value::as_array);
            items.map_or(0, Vec::len)
        };
        let count = count(List::Init) + count(List::Main);
        if count > MOST_CONTAINERS {
            return Err(vec![format!(
                "spec has {count} containers: pods of up to {MOST_CONTAINERS} can get a drain"
            )]);
        }
        let mut containers = reader.containers(spec, List::Init);
        containers.extend(reader.containers(spec, List::Main));
        if !containers
            .iter()
            .any(|container| container.list == List::Main)
        {
            reader.fault("spec.containers has no container");
        }
        reader.distinct_names(&containers);
        let os = reader.section(spec, "os", "spec.");
        let os = os.and_then(|os| reader.text(os, "name", "spec.os."));
        let selector = reader.section(spec, "nodeSelector", "spec.");
        let selected = selector.and_then(|labels| labels.get("kubernetes.io/os")?.as_str());
        let security = reader.section(spec, "securityContext", "spec.");
        let security_path = "spec.securityContext.";
        let view = Self {
            grace: reader.number(spec, "terminationGracePeriodSeconds", "spec."),
            host_network: reader.flag(spec, "hostNetwork", "spec."),
            restart_policy: reader
                .text(spec, "restartPolicy", "spec.")
                .unwrap_or("Always"),
            windows: os == Some("windows") || (os.is_none() && selected == Some("windows")),
            has_resources: reader
                .section(spec, "resources", "spec.")
                .is_some_and(|resources| !resources.is_empty()),
            user: security.and_then(|map| reader.number(map, "runAsUser", security_path)),
            group: security.and_then(|map| reader.number(map, "runAsGroup", security_path)),
            pull_secrets: reader.pull_secrets(spec),
            containers,
        };
        reader.finish(view)
    }

    /// The containers that run while the pod serves: the main ones and native sidecars.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers
            .iter()
            .filter(|container| container.is_running())
    }

    /// A container by its name.
    pub(crate) fn container(&self, name: &str) -> Option<&Container<'a>> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }

    /// Whether the pod is meant to end by itself, as those of a Job are.
    pub(crate) fn is_meant_to_end(&self) -> bool {
        self.restart_policy != "Always"
    }
}

/// Reads fields and collects what has the wrong form. Null counts as missing, as in Kubernetes.
#[derive(Default)]
struct Reader {
    faults: Vec<String>,
}

impl Reader {
    fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    fn finish<T>(self, view: T) -> Result<T, Vec<String>> {
        if self.faults.is_empty() {
            Ok(view)
        } else {
            Err(self.faults)
        }
    }

    fn field<'a>(&mut self, map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
        map.get(key).filter(|value| !value.is_null())
    }

    fn object<'a>(&mut self, value: &'a Value, place: &str) -> Option<&'a Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.fault(format!("{place} is not an object"));
        }
        map
    }

    fn section<'a>(
        &mut self,
        map: &'a Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Option<&'a Map<String, Value>> {
        let value = self.field(map, key)?;
        self.object(value, &format!("{path}{key}"))
    }

    fn items<'a>(&mut self, map: &'a Map<String, Value>, key: &str, path: &str) -> &'a [Value] {
        match self.field(map, key) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.fault(format!("{path}{key} is not a list"));
                &[]
            }
        }
    }

    fn text<'a>(&mut self, map: &'a Map<String, Value>, key: &str, path: &str) -> Option<&'a str> {
        let value = self.field(map, key)?;
        if !value.is_string() {
            self.fault(format!("{path}{key} is not a text"));
        }
        value.as_str()
    }

    fn number(&mut self, map: &Map<String, Value>, key: &str, path: &str) -> Option<i64> {
        let value = self.field(map, key)?;
        if value.as_i64().is_none() {
            self.fault(format!("{path}{key} is not a whole number"));
        }
        value.as_i64()
    }

    fn flag(&mut self, map: &Map<String, Value>, key: &str, path: &str) -> bool {
        let value = self.field(map, key);
        if value.is_some_and(|value| !value.is_boolean()) {
            self.fault(format!("{path}{key} is neither true nor false"));
        }
        value.and_then(Value::as_bool).unwrap_or_default()
    }

    /// A map from texts to texts under `metadata`. Only ours must be texts for us to go on.
    fn texts<'a>(
        &mut self,
        metadata: &'a Map<String, Value>,
        key: &str,
    ) -> Option<&'a Map<String, Value>> {
        let map = self.section(metadata, key, "metadata.")?;
        for (name, value) in map {
            if !value.is_string() && name.starts_with(crate::annotations::PREFIX) {
                let name = quoted(name);
                self.fault(format!(
                    "metadata.{key}: the value of {name} is not a text: quote it"
                ));
            }
        }
        Some(map)
    }

    fn pull_secrets<'a>(&mut self, spec: &'a Map<String, Value>) -> Vec<&'a str> {
        let secrets = self.items(spec, "imagePullSecrets", "spec.");
        secrets
            .iter()
            .filter_map(|secret| secret.get("name")?.as_str())
            .collect()
    }

    fn distinct_names(&mut self, containers: &[Container<'_>]) {
        let mut names: Vec<&str> = containers.iter().map(|container| container.name).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            if pair[0] == pair[1] {
                self.fault(format!("two containers are called {}", quoted(pair[0])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(pod: Value) -> Vec<String> {
        let mut faults = Metadata::read(&pod).err().unwrap_or_default();
        faults.extend(Pod::read(&pod).err().unwrap_or_default());
        faults
    }

    #[test]
    fn everything_of_the_wrong_form_is_told_with_its_place() {
        let faults = faults(json!({
            "metadata": {"annotations": {"drainhook.io/inject": true, "other": 1}},
            "spec": {
                "hostNetwork": "yes",
                "terminationGracePeriodSeconds": "30",
                "containers": [{"name": "a", "ports": {}}, {"name": "a"}, {}, 7],
            },
        }));
        let expected = [
            "metadata.annotations: the value of \"drainhook.io/inject\" is not a text: quote it",
            "spec.containers[0].ports is not a list",
            "spec.containers[2] has no name",
            "spec.containers[3] is not an object",
            "two containers are called \"a\"",
            "spec.terminationGracePeriodSeconds is not a whole number",
            "spec.hostNetwork is neither true nor false",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_pod_without_containers_is_none() {
        assert_eq!(faults(json!({})), ["spec is missing or is not an object"]);
        assert_eq!(
            faults(json!({"spec": {}})),
            ["spec.containers has no container"]
        );
        assert!(faults(json!([])).contains(&"the pod is not an object".to_owned()));
    }

    #[test]
    fn a_pod_of_more_containers_than_any_is_told_so_and_not_looked_at() {
        let pod = |count: usize| {
            let container = |number| json!({"name": format!("c{number}")});
            let all: Vec<_> = (0..count).map(container).collect();
            let (main, init) = all.split_at(count / 2);
            json!({"spec": {"containers": main, "initContainers": init}})
        };
        assert_eq!(faults(pod(MOST_CONTAINERS)), Vec::<String>::new());
        let said = faults(pod(MOST_CONTAINERS + 1));
        assert_eq!(
            said,
            ["spec has 251 containers: pods of up to 250 can get a drain"]
        );
    }

    #[test]
    fn null_counts_as_missing() {
        let pod = json!({"metadata": null, "spec": {
            "containers": [{"name": "a", "lifecycle": null, "ports": null}],
            "initContainers": null, "terminationGracePeriodSeconds": null,
        }});
        assert_eq!(faults(pod.clone()), Vec::<String>::new());
        assert_eq!(Pod::read(&pod).map(|pod| pod.grace), Ok(None));
    }

    #[test]
    fn windows_is_told_by_the_os_before_the_selector() {
        let pod = |spec: Value| {
            let mut spec = spec;
            spec["containers"] = json!([{"name": "a"}]);
            Pod::read(&json!({"spec": spec})).map(|pod| pod.windows)
        };
        let selector = json!({"kubernetes.io/os": "windows"});
        assert_eq!(pod(json!({"os": {"name": "windows"}})), Ok(true));
        assert_eq!(pod(json!({"nodeSelector": selector})), Ok(true));
        assert_eq!(
            pod(json!({"os": {"name": "linux"}, "nodeSelector": selector})),
            Ok(false)
        );
        assert_eq!(pod(json!({})), Ok(false));
    }

    #[test]
    fn a_static_pod_is_told_by_what_the_kubelet_writes() {
        let annotated = |key: &str, value: &str| {
            let pod = json!({"metadata": {"annotations": {key: value}}});
            Metadata::read(&pod).map(|metadata| metadata.is_static())
        };
        assert_eq!(annotated(MIRROR, "x"), Ok(true));
        assert_eq!(annotated(CONFIG_SOURCE, "file"), Ok(true));
        assert_eq!(annotated(CONFIG_SOURCE, "api"), Ok(false));
    }
}
