//! What a cluster leaves on the disk, and who removes it when nobody else can any more.

use std::{
    fs, io,
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
    left=
    for path in "$@"; do
        case $path in
        /sys/*) find "$path" -depth -type d -exec rmdir {} + 2>/dev/null ;;
        *) rm -rf -- "$path" 2>/dev/null ;;
        esac
        [ ! -e "$path" ] || left="$left $path"
    done
    [ -n "$left" ] || exit 0
    sleep 0.1
done
echo "left behind:$left" >&2
exit 1
"#;

/// A temporary directory that is removed when this value is dropped, and also when the test process
/// is killed or the value is in a `static`; so are cgroups of its name.
#[derive(Debug)]
pub(super) struct Residue {
    directory: PathBuf,
    cgroups: Vec<PathBuf>,
    janitor: Child,
}

impl Residue {
    /// Makes the directory.
    pub(super) fn create(kind: &str) -> Result<Self> {
        let directory = TempDir::with_prefix(format!("drainhook-{kind}-"))
            .context("make a temporary directory")?
            .keep();
        let cgroups = cgroups(&directory)?;
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&directory)
            .args(&cgroups)
            .stdin(Stdio::piped())
            // Ctrl-C in a terminal goes to the whole group; this one has to stay.
            .process_group(0)
            .spawn()
            .context("start the janitor")?;
        Ok(Self {
            directory,
            cgroups,
            janitor,
        })
    }

    /// The cgroups that go with it, one in each hierarchy: they are made by whoever needs them, and
    /// named after the directory.
    pub(super) fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// A file in the directory.
    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
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

/// One cgroup with version 2, one for each controller with version 1.
fn cgroups(directory: &Path) -> Result<Vec<PathBuf>> {
    let name = directory.file_name().unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| Path::new(path).join(name))
    };
    let mut cgroups: Vec<_> = mounts.lines().filter_map(hierarchy).collect();
    cgroups.sort();
    cgroups.dedup();
    Ok(cgroups)
}
