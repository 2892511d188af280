//! What the decision knows besides the pod: the installation, the cluster, and the pod's namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

use crate::annotations::{self, Key, PREFIX};
use crate::message::quoted;

/// The sidecar's image where nobody names another: the release of this very version.
pub const DEFAULT_IMAGE: &str = concat!(
    "ghcr.io/drainhook/shutdown-manager:v",
    env!("CARGO_PKG_VERSION")
);

/// The namespace's label and its values that opt all of its pods in.
pub const NAMESPACE_LABEL: &str = "drainhook.io/inject";
const NAMESPACE_OPT_IN: [&str; 2] = ["enabled", "true"];

/// Set by OpenShift on each namespace: the range of user ids that its pods may have.
const OPENSHIFT_RANGE: &str = "openshift.io/sa.scc.uid-range";

/// How the installation and the cluster are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The installation's defaults of the annotations.
    pub defaults: InstallationDefaults,
    /// The API server's version, which says whether native sidecars work. Unknown on a command
    /// line that was not told.
    pub kubernetes: Option<KubernetesVersion>,
    /// Whether pods and namespaces may choose the sidecar's image.
    pub image_choice: bool,
    /// What becomes of keys under our prefix that this version does not know.
    pub unknown_keys: UnknownKeys,
}

/// What becomes of a key under our prefix that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownKeys {
    /// The pod is refused: a misspelt key must not pass in silence.
    #[default]
    Deny,
    /// A warning: for installations that roll back while newer keys are in use.
    Warn,
}

/// A version of Kubernetes, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubernetesVersion {
    /// `1` of `1.32`.
    pub major: u32,
    /// `32` of `1.32`.
    pub minor: u32,
}

impl KubernetesVersion {
    /// From here on `restartPolicy` of an init container is known to API server and kubelets when
    /// the feature is on (beta, on by default: KEP-753).
    pub const FIRST_WITH_NATIVE_SIDECARS: Self = Self {
        major: 1,
        minor: 29,
    };

    /// From here on every kubelet that the API server supports (three minor versions back) is one
    /// that knows native sidecars.
    pub const NATIVE_SIDECARS_EVERYWHERE: Self = Self {
        major: 1,
        minor: 32,
    };
}

impl FromStr for KubernetesVersion {
    type Err = VersionError;

    /// Reads `1.32`, `v1.32.4`, and what providers make of it: `1.32+`, `v1.32.4-gke.100`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let fault = || VersionError(quoted(text));
        let (major, rest) = text
            .strip_prefix('v')
            .unwrap_or(text)
            .split_once('.')
            .ok_or_else(fault)?;
        let end = rest
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(rest.len());
        let (minor, rest) = rest.split_at(end);
        if !rest.is_empty() && !rest.starts_with(['.', '+', '-']) {
            return Err(fault());
        }
        Ok(Self {
            major: major.parse().map_err(|_| fault())?,
            minor: minor.parse().map_err(|_| fault())?,
        })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// A text that is no version.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0} is not a version of Kubernetes: write 1.32")]
pub struct VersionError(String);

/// The namespace of a pod, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels: they may opt its pods in.
    pub labels: BTreeMap<String, String>,
    /// Its annotations: they may set defaults.
    pub annotations: BTreeMap<String, String>,
}

impl Namespace {
    /// Reads a Namespace object; what it lacks is taken as empty.
    #[must_use]
    pub fn from_object(object: &Value) -> Self {
        let map = |field: &str| {
            let entries = object
                .pointer("/metadata")
                .and_then(|meta| meta.get(field)?.as_object());
            let text =
                |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.into()));
            entries.into_iter().flatten().filter_map(text).collect()
        };
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Self {
            name: name.to_owned(),
            labels: map("labels"),
            annotations: map("annotations"),
        }
    }

    /// Whether its label opts all of its pods in.
    #[must_use]
    pub fn opts_in(&self) -> bool {
        self.labels
            .get(NAMESPACE_LABEL)
            .is_some_and(|value| NAMESPACE_OPT_IN.contains(&value.as_str()))
    }

    /// Whether OpenShift gives its pods their user ids.
    #[must_use]
    pub fn on_openshift(&self) -> bool {
        self.annotations.contains_key(OPENSHIFT_RANGE)
    }
}

/// The installation's defaults: values of the annotations' keys, each already checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallationDefaults {
    values: BTreeMap<Key, String>,
}

/// Everything that is wrong with a file of defaults.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", faults.join("\n"))]
pub struct DefaultsError {
    /// One sentence for each fault.
    pub faults: Vec<String>,
}

impl InstallationDefaults {
    /// Reads a YAML or JSON map from the annotations' names (with or without prefix) to values.
    ///
    /// # Errors
    /// All faults at once: unknown keys, bad values, values that contradict each other.
    pub fn parse(text: &str) -> Result<Self, DefaultsError> {
        let single = |fault: String| DefaultsError {
            faults: vec![fault],
        };
        let value = crate::yaml::read(text)
            .map_err(|fault| single(format!("the defaults are not YAML or JSON: {fault}")))?;
        match value {
            Value::Null => Ok(Self::default()),
            Value::Object(entries) => {
                Self::from_entries(entries.into_iter().map(|(key, value)| (key, scalar(value))))
            }
            _ => Err(single(
                "the defaults are not a map from keys to values".into(),
            )),
        }
    }

    /// The same, from values that somebody already has at hand.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, DefaultsError> {
        Self::from_entries(
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), Some(value.to_owned()))),
        )
    }

    fn from_entries(
        entries: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Result<Self, DefaultsError> {
        let mut values = BTreeMap::new();
        let mut faults = Vec::new();
        for (written, value) in entries {
            let name = written.strip_prefix(PREFIX).unwrap_or(&written);
            let Some(known) = annotations::find(name) else {
                faults.push(unknown(&written, name));
                continue;
            };
            if !known.has_defaults() {
                faults.push(format!(
                    "{name} cannot have a default: pods and namespaces opt in"
                ));
                continue;
            }
            let Some(value) = value else {
                faults.push(format!(
                    "{name} has no plain value: allowed is {}",
                    known.kind.allowed()
                ));
                continue;
            };
            if let Err(fault) = known.kind.check(&value) {
                faults.push(format!("{name}: {} {fault}", quoted(&value)));
            }
            if values.insert(known.key, value).is_some() {
                faults.push(format!("{name} stands there twice"));
            }
        }
        let defaults = Self { values };
        if faults.is_empty() {
            faults.extend(crate::settings::contradictions(&defaults));
        }
        if faults.is_empty() {
            Ok(defaults)
        } else {
            Err(DefaultsError { faults })
        }
    }

    /// The default of a key, where the installation has one.
    #[must_use]
    pub fn value(&self, key: Key) -> Option<&str> {
        self.values.get(&key).map(String::as_str)
    }
}

fn unknown(written: &str, name: &str) -> String {
    let key = quoted(written);
    match annotations::nearest(name) {
        Some(meant) => format!("{key} is not a key of drainhook: did you mean {meant}?"),
        None => format!("{key} is not a key of drainhook"),
    }
}

/// The text of a YAML scalar: `8090` and `false` are what people write without quotes.
fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_providers_write_them() {
        for text in [
            "1.32",
            "v1.32.4",
            "1.32+",
            "v1.32.4-gke.100",
            "1.32.0-eks-1",
        ] {
            assert_eq!(
                text.parse(),
                Ok(KubernetesVersion {
                    major: 1,
                    minor: 32
                }),
                "{text}"
            );
        }
        for text in ["", "1", "v1.", "1.x", "one.two", "1.32x"] {
            assert!(text.parse::<KubernetesVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn defaults_are_read_with_and_without_prefix_and_quotes() {
        let defaults =
            InstallationDefaults::parse("port: 8091\ndrainhook.io/min-drain: 10s\n").unwrap();
        assert_eq!(defaults.value(Key::Port), Some("8091"));
        assert_eq!(defaults.value(Key::MinDrain), Some("10s"));
        assert_eq!(defaults.value(Key::Quiet), None);
    }

    #[test]
    fn all_faults_of_the_defaults_are_told_at_once() {
        let error = InstallationDefaults::parse(
            "prot: 8091\nmin-drain: 10\ninject: true\nimage: [a]\nport: 8091\n",
        )
        .unwrap_err();
        assert_eq!(error.faults.len(), 4, "{error}");
        assert!(error.faults[0].contains("did you mean port?"), "{error}");
    }

    #[test]
    fn defaults_that_contradict_each_other_are_refused() {
        let error = InstallationDefaults::parse("min-drain: 10m").unwrap_err();
        assert!(error.faults[0].contains("drain-timeout"), "{error}");
    }

    #[test]
    fn an_empty_file_of_defaults_is_none() {
        assert_eq!(
            InstallationDefaults::parse(""),
            Ok(InstallationDefaults::default())
        );
        assert_eq!(
            InstallationDefaults::parse("# none\n"),
            Ok(InstallationDefaults::default())
        );
    }

    #[test]
    fn what_is_no_map_is_refused() {
        assert!(InstallationDefaults::parse("- a").is_err());
        assert!(InstallationDefaults::parse("{").is_err());
    }

    #[test]
    fn a_namespace_opts_in_by_its_label() {
        let namespace = |value: &str| {
            let object =
                serde_json::json!({"metadata": {"labels": {"drainhook.io/inject": value}}});
            Namespace::from_object(&object).opts_in()
        };
        assert!(namespace("enabled"));
        assert!(namespace("true"));
        assert!(!namespace("disabled"));
        assert!(!Namespace::default().opts_in());
    }

    #[test]
    fn values_at_hand_are_defaults_as_those_of_a_file_are() {
        let pairs = [("drain-timeout", "60s"), ("drainhook.io/quiet", "3s")];
        let defaults = InstallationDefaults::from_pairs(pairs).unwrap();
        assert_eq!(
            defaults,
            InstallationDefaults::parse("{drain-timeout: 60s, quiet: 3s}").unwrap()
        );
        assert_eq!(defaults.value(Key::DrainTimeout), Some("60s"));
        assert!(InstallationDefaults::from_pairs([("quiet", "3")]).is_err());
    }
}
