//! What a cluster leaves on the disk, and who removes it when nobody else can any more.

use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Waits for the end of its standard input, which is the end of the owner, then removes what the
/// owner left. Processes that are just being killed may still write, hence more than one attempt.
const JANITOR: &str = r#"
while read -r _; do :; done
for attempt in $(seq 100); do
    for cgroup in $2; do
        find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    rm -rf -- "$1" 2>/dev/null
    left=$1
    for cgroup in $2; do [ -e "$cgroup" ] && left=$cgroup; done
    [ -e "$left" ] || exit 0
    sleep 0.1
done
echo "left behind: $left" >&2
exit 1
"#;

/// A temporary directory that is removed when this value is dropped, and also when the test process
/// is killed or the value is in a `static`. It can watch over cgroups in the same way.
#[derive(Debug)]
pub(super) struct Residue {
    directory: PathBuf,
    janitor: Child,
}

impl Residue {
    /// Makes the directory.
    pub(super) fn create(kind: &str) -> Result<Self> {
        Self::create_with_cgroups(kind, |_| Vec::new())
    }

    /// Makes the directory; `cgroups` says, for the directory's name, which cgroups go with it.
    pub(super) fn create_with_cgroups(
        kind: &str,
        cgroups: impl FnOnce(&str) -> Vec<PathBuf>,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix(format!("drainhook-{kind}-"))
            .context("make a temporary directory")?
            .keep();
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let cgroups = cgroups(&name)
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>();
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&directory)
            .arg(cgroups.join(" "))
            .stdin(Stdio::piped())
            // Ctrl-C in a terminal goes to the whole group; this one has to stay.
            .process_group(0)
            .spawn()
            .context("start the janitor")?;
        Ok(Self { directory, janitor })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// A file in the directory.
    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.directory.join(name);
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Residue {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let ended: io::Result<_> = self.janitor.wait();
        if let Err(error) = ended {
            eprintln!(
                "wait for the janitor of {}: {error}",
                self.directory.display()
            );
        }
    }
}
