//! Container images for the node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Builds the image `reference` from the Containerfile at `containerfile` and files that it copies,
/// each with its name in the build's context, and writes it to `archive`. Needs root and buildah.
///
/// # Errors
/// When the image cannot be built, with what buildah said.
pub fn build(
    reference: &str,
    containerfile: &Path,
    files: &[(&str, &Path)],
    archive: &Path,
) -> Result<()> {
    let context = TempDir::with_prefix("drainhook-image-").context("make a directory")?;
    for (name, source) in files {
        let to = context.path().join(name);
        fs::copy(source, &to).with_context(|| format!("copy {}", source.display()))?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/image.sh");
    let output = Command::new(&script)
        .arg(reference)
        .args([archive, context.path()])
        .arg("--file")
        .arg(containerfile)
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "build image {reference}: {said}");
    Ok(())
}

/// A Containerfile of the tests.
pub(super) fn containerfile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cluster/images")
        .join(name)
        .join("Containerfile")
}
