//! The programs of a cluster: found or built by `tests/cluster/build.sh`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// A version of Kubernetes that the tests run on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Version {
    /// The newest that we know.
    #[default]
    Newest,
    /// The oldest that we support: the first with `matchConditions` as a stable feature. Built for
    /// it are the API server and the controller manager.
    Oldest,
}

impl Version {
    /// `1.36`: how `tests/cluster` calls it.
    pub fn minor(self) -> &'static str {
        match self {
            Self::Newest => "1.36",
            Self::Oldest => "1.30",
        }
    }

    /// The paths of `names`, in their order. What is nowhere on this machine is built, which takes
    /// minutes the first time; call it where blocking is allowed.
    ///
    /// # Errors
    /// When a program cannot be built; what the build said is on standard error.
    pub fn programs<const N: usize>(self, names: [&str; N]) -> Result<[PathBuf; N]> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/build.sh");
        let output = Command::new(&script)
            .arg(self.minor())
            .args(names)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("run {}", script.display()))?;
        ensure!(
            output.status.success(),
            "{} {} {} ended with {}",
            script.display(),
            self.minor(),
            names.join(" "),
            output.status
        );
        let text = String::from_utf8(output.stdout).context("read what build.sh printed")?;
        let paths: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
        match paths.try_into() {
            Ok(paths) => Ok(paths),
            Err(paths) => bail!("build.sh printed {paths:?} for {names:?}"),
        }
    }
}
