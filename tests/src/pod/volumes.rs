//! The volumes of a pod, as folders.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::manifest::Manifest;
use super::spec::{Container, PodSpec};

/// Where a container finds its volumes.
///
/// ConfigMaps and Secrets are written out for each container by itself, as the addresses and paths
/// in them are those of one container. Every other kind of volume is one folder for the pod, empty
/// at first: an `emptyDir` is that anyway, and the tests have no other storage to offer.
pub(super) fn mount(
    manifest: &Manifest,
    spec: &PodSpec,
    container: &Container,
    root: &Path,
) -> Result<Mounted> {
    let mut mounted = Mounted::default();
    for mount in &container.volume_mounts {
        let volume = spec
            .volumes
            .iter()
            .find(|volume| volume.get("name").and_then(Value::as_str) == Some(&mount.name))
            .with_context(|| format!("no volume {} for {}", mount.name, container.name))?;
        let files = files(manifest, volume)?;
        let folder = match &files {
            Some(_) => root.join(&container.name).join(&mount.name),
            None => root.join(&mount.name),
        };
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        for (name, text) in files.into_iter().flatten() {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
            }
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            mounted.files.push(path);
        }
        let outside = match mount.sub_path.as_deref() {
            Some(part) => folder.join(part),
            None => folder,
        };
        let inside = mount.mount_path.trim_end_matches('/').to_owned();
        mounted.paths.push((inside, outside));
    }
    Ok(mounted)
}

/// What was mounted.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// Path in the container, and where it is.
    pub(super) paths: Vec<(String, PathBuf)>,
    /// Files out of ConfigMaps and Secrets.
    pub(super) files: Vec<PathBuf>,
}

/// The files of a volume out of the manifest; none where it is not made of files.
fn files(manifest: &Manifest, volume: &Value) -> Result<Option<Vec<(String, String)>>> {
    if let Some(sources) = volume
        .pointer("/projected/sources")
        .and_then(Value::as_array)
    {
        let mut all = Vec::new();
        for source in sources {
            all.extend(
                source_files(manifest, source, "name")?
                    .into_iter()
                    .flatten(),
            );
        }
        return Ok(Some(all));
    }
    source_files(manifest, volume, "secretName")
}

fn source_files(
    manifest: &Manifest,
    source: &Value,
    secret_name: &str,
) -> Result<Option<Vec<(String, String)>>> {
    let (kind, reference, name) = if let Some(map) = source.get("configMap") {
        ("ConfigMap", map, map.get("name"))
    } else if let Some(secret) = source.get("secret") {
        ("Secret", secret, secret.get(secret_name))
    } else {
        return Ok(None);
    };
    let name = name.and_then(Value::as_str).unwrap_or_default();
    let Some(entries) = manifest.entries(kind, name) else {
        if reference.get("optional").and_then(Value::as_bool) == Some(true) {
            return Ok(Some(Vec::new()));
        }
        anyhow::bail!("the manifest mounts {kind} {name} and does not contain it");
    };
    let Some(items) = reference.get("items").and_then(Value::as_array) else {
        return Ok(Some(entries));
    };
    let chosen = items.iter().filter_map(|item| {
        let key = item.get("key")?.as_str()?;
        let path = item.get("path")?.as_str()?;
        let (_, text) = entries.iter().find(|(entry, _)| entry == key)?;
        Some((path.to_owned(), text.clone()))
    });
    Ok(Some(chosen.collect()))
}
