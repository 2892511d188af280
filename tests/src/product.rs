//! Our own binaries, built on first use, as they are shipped.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// What the sidecar may have in memory through a drain, in bytes.
pub const SIDECAR_MEMORY: u64 = 3_000_000;

/// The sidecar, `shutdown-manager`: static, in the profile of its own in which it is shipped. Built by
/// cargo on first use, unless `SHUTDOWN_MANAGER_BIN` names one.
///
/// # Errors
/// When it cannot be built; cargo has said why on standard error.
pub fn shutdown_manager() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    once(&BUILT, "SHUTDOWN_MANAGER_BIN", || {
        build(
            "shutdown-manager",
            "shutdown-manager",
            &["--profile=sidecar", "--target", &target],
        )
        .with_context(|| format!("is the target there? `rustup target add {target}`"))
    })
}

/// The webhook and command line, `drainhook`, in the profile of the tests themselves. Built by cargo
/// on first use, unless `DRAINHOOK_BIN` names one.
///
/// # Errors
/// When it cannot be built; cargo has said why on standard error.
pub fn drainhook() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let profile = if cfg!(debug_assertions) {
        "--profile=dev"
    } else {
        "--profile=release"
    };
    once(&BUILT, "DRAINHOOK_BIN", || {
        build("drainhook-webhook", "drainhook", &[profile])
    })
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

fn once(
    built: &'static OnceLock<Result<PathBuf, String>>,
    variable: &str,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<&'static Path> {
    let outcome = built.get_or_init(|| {
        let outcome = match env::var_os(variable) {
            Some(path) => named(variable, path),
            None => build(),
        };
        outcome.map_err(|error| format!("{error:#}"))
    });
    outcome.as_deref().map_err(|error| anyhow!("{error}"))
}

fn named(variable: &str, path: OsString) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if !path.is_file() {
        bail!("{variable} names {}, which is not a file", path.display());
    }
    Ok(path)
}

/// Cargo itself says where it put the binary: that depends on configuration and environment.
fn build(package: &str, binary: &str, options: &[&str]) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--package", package, "--bin", binary])
        .args(options)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("cargo cannot build {binary} ({})", output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == binary)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no binary called {binary}"))
}
