//! The installation's defaults, told on the command line: a file, a ConfigMap among the manifests,
//! single values.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::exit::{Exit, Failure};
use super::input::Manifest;
use crate::annotations::PREFIX;
use crate::manifest::{Document, objects, parse};
use crate::{DefaultsError, InstallationDefaults};

/// The key of the installation's ConfigMap that holds its defaults: a file of their own, so that
/// the webhook can mount it.
const KEY: &str = "defaults.yaml";

/// Where defaults come from, the weakest first.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Installation and cluster")]
pub(super) struct DefaultsArgs {
    /// The defaults of the annotations: a map from keys to values, as the webhook's installation
    /// has it, or a manifest with the ConfigMap that holds it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    defaults: Option<PathBuf>,

    /// The same, from a ConfigMap that is among the manifests: `drainhook-defaults`
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with = "defaults")]
    defaults_from: Option<String>,

    /// A default of an annotation, over those of the file: `--set drain-timeout=60s`
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,

    /// The image of the sidecar: the same as `--set image=IMAGE`
    #[arg(long)]
    image: Option<String>,
}

impl DefaultsArgs {
    /// Reads the defaults. `over` goes before the file and comes from `place`.
    ///
    /// # Errors
    /// All faults of one source, each with its place.
    pub(super) fn read(
        &self,
        manifests: &[Manifest],
        over: &Map<String, Value>,
        place: &str,
    ) -> Result<InstallationDefaults, Failure> {
        let mut defaults = match (&self.defaults, &self.defaults_from) {
            (Some(path), _) => of_file(path)?,
            (None, Some(name)) => of_manifests(name, manifests)?,
            (None, None) => Map::new(),
        };
        for (key, value) in over {
            defaults.insert(bare(key).to_owned(), value.clone());
        }
        let image = self.image.iter().map(|image| ("image", image.as_str()));
        let set = self
            .set
            .iter()
            .map(|(key, value)| (bare(key), value.as_str()));
        for (key, value) in set.chain(image) {
            defaults.insert(key.to_owned(), value.into());
        }
        // The file has been read alone: what is wrong now came on top of it.
        let place = if over.is_empty() {
            "--set, --image"
        } else {
            place
        };
        InstallationDefaults::parse(&Value::Object(defaults).to_string())
            .map_err(|error| faults(place, &error))
    }
}

/// A file with nothing but the defaults, or a manifest with the ConfigMap that holds them.
fn of_file(path: &Path) -> Result<Map<String, Value>, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::NoInput, format!("{name}: {error}")))?;
    let documents = parse(&text).unwrap_or_default();
    if !documents.iter().any(is_manifest) {
        return checked(&name, &text);
    }
    let maps: Vec<&Value> = config_maps(&documents)
        .filter(|map| text_of(map).is_some())
        .collect();
    match maps.as_slice() {
        [map] => of_config_map(&name, map),
        [] => Err(Failure::new(
            Exit::Usage,
            format!("{name}: is a manifest, and none of its ConfigMaps has the key {KEY}"),
        )),
        several => {
            let names: Vec<String> = several.iter().map(|map| name_of(map)).collect();
            Err(Failure::new(
                Exit::Usage,
                format!(
                    "{name}: has several ConfigMaps with the key {KEY}: {}; give the file as a \
                     manifest and name one of them with --defaults-from",
                    names.join(", ")
                ),
            ))
        }
    }
}

fn of_manifests(wanted: &str, manifests: &[Manifest]) -> Result<Map<String, Value>, Failure> {
    let documents = || manifests.iter().flat_map(|manifest| &manifest.documents);
    let named = |map: &&Value| {
        let name = name_of(map);
        name == wanted || name.rsplit('/').next() == Some(wanted)
    };
    let fault =
        |said: String| Failure::new(Exit::Usage, format!("--defaults-from {wanted}: {said}"));
    let maps: Vec<&Value> = documents().flat_map(of_document).filter(named).collect();
    match maps.as_slice() {
        [map] if text_of(map).is_some() => of_config_map(&format!("ConfigMap {wanted}"), map),
        [_] => Err(fault(format!("the ConfigMap has no key {KEY}"))),
        [] => {
            let others: Vec<String> = documents()
                .flat_map(of_document)
                .filter(|map| text_of(map).is_some())
                .map(name_of)
                .collect();
            let meant = if others.is_empty() {
                String::new()
            } else {
                format!("; with the key {KEY} there is {}", others.join(", "))
            };
            Err(fault(format!(
                "no such ConfigMap is among the manifests{meant}"
            )))
        }
        several => {
            let names: Vec<String> = several.iter().map(|map| name_of(map)).collect();
            Err(fault(format!(
                "means each of {}: write NAMESPACE/NAME",
                names.join(", ")
            )))
        }
    }
}

fn of_config_map(place: &str, map: &Value) -> Result<Map<String, Value>, Failure> {
    checked(&format!("{place}: {KEY}"), text_of(map).unwrap_or_default())
}

/// The entries of a text with defaults, after it has been checked alone.
fn checked(place: &str, text: &str) -> Result<Map<String, Value>, Failure> {
    InstallationDefaults::parse(text).map_err(|error| faults(place, &error))?;
    match crate::yaml::read(text) {
        Ok(Value::Object(entries)) => Ok(entries
            .into_iter()
            .map(|(key, value)| (bare(&key).to_owned(), value))
            .collect()),
        // It has been read before: it is empty.
        _ => Ok(Map::new()),
    }
}

fn faults(place: &str, error: &DefaultsError) -> Failure {
    let message = |fault: &dyn Display| format!("{place}: {fault}");
    Failure {
        exit: Exit::Usage,
        messages: error.faults.iter().map(|fault| message(fault)).collect(),
    }
}

fn is_manifest(document: &Document) -> bool {
    document.value["apiVersion"].is_string() && document.value["kind"].is_string()
}

fn config_maps(documents: &[Document]) -> impl Iterator<Item = &Value> {
    documents.iter().flat_map(of_document)
}

fn of_document(document: &Document) -> Vec<&Value> {
    objects(&document.value, "v1", "ConfigMap")
}

fn text_of(map: &Value) -> Option<&str> {
    map["data"][KEY].as_str()
}

/// `NAMESPACE/NAME`, or the name alone where it names no namespace.
fn name_of(map: &Value) -> String {
    let metadata = &map["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// A key without the annotations' prefix.
pub(super) fn bare(key: &str) -> &str {
    key.strip_prefix(PREFIX).unwrap_or(key)
}

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
