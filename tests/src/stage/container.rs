//! What happens to a container without being asked for: signals, and the memory that it takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ContainerStatus;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// Takes memory in a cgroup until the kernel looks for somebody to kill.
const HOG: &str = r#"echo $$ >"$1/cgroup.procs" && head -c 200M /dev/zero | tail >/dev/null"#;

/// What the runtime's process in a container is called: `runc:[2:INIT]`.
const RUNTIME: &str = "runc:";

/// So many of them one after the other, at most.
const HOGS: usize = 10;

/// A running container, by its processes. They are found by their cgroup, which is called after the
/// container.
#[derive(Clone, Debug)]
pub struct Container {
    name: String,
    id: String,
}

/// What processes have in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All pages (Rss). Where there are several processes, those that they share are counted for each.
    pub resident: u64,
    /// Each page divided among all who have it (Pss): added up, this is what is really taken.
    pub share: u64,
}

/// How a container was held to its CPU limit, by its cgroup's own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// In how many periods.
    pub periods: u64,
    /// For how long altogether.
    pub time: Duration,
}

/// A CPU limit of a container that lasts until it is dropped.
#[derive(Debug)]
pub struct CpuLimit {
    file: PathBuf,
    before: String,
}

impl Container {
    /// The container that a pod's status speaks of.
    ///
    /// # Errors
    /// When it has none yet.
    pub fn of(status: &ContainerStatus) -> Result<Self> {
        let id = status
            .container_id
            .as_deref()
            .and_then(|id| id.split_once("://"));
        let (_, id) = id.with_context(|| format!("{} has not been started", status.name))?;
        Ok(Self {
            name: status.name.clone(),
            id: id.to_owned(),
        })
    }

    /// Its processes, as this machine numbers them. None when it has ended.
    pub fn processes(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        processes
            .filter_map(number)
            .filter(|pid| {
                let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"));
                cgroup.is_ok_and(|cgroup| cgroup.contains(&self.id))
            })
            .collect()
    }

    /// Sends a signal to each of its processes.
    ///
    /// # Errors
    /// When there are none, or the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut reached = 0;
        for process in self.processes() {
            let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
            let pid = pid.context("not a process id")?;
            match kill_process(pid, signal) {
                Ok(()) => reached += 1,
                // It ended since it was looked for, and the others are still to be told.
                Err(Errno::SRCH) => {}
                Err(error) => {
                    let what = format!("{signal:?} to {}", self.name);
                    return Err(error).context(what);
                }
            }
        }
        ensure!(reached > 0, "{} has no process", self.name);
        Ok(())
    }

    /// What its processes have in memory now.
    pub fn memory(&self) -> Memory {
        let of_each = self.processes().into_iter().map(Memory::of);
        of_each.fold(Memory::default(), |sum, one| Memory {
            resident: sum.resident + one.resident,
            share: sum.share + one.share,
        })
    }

    /// How it was held to its CPU limit so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn throttled(&self) -> Result<Throttled> {
        let cgroup = self.cgroup("cpu")?;
        Throttled::read(&cgroup).with_context(|| format!("{} is gone", cgroup.display()))
    }

    /// Lets it have so many microseconds of a processor in each tenth of a second, until what is returned is
    /// dropped.
    ///
    /// # Errors
    /// When it has ended, or the kernel refuses.
    pub fn limit_cpu(&self, quota: u32) -> Result<CpuLimit> {
        let cgroup = self.cgroup("cpu")?;
        let (file, value) = match cgroup.join("cpu.max") {
            file if file.exists() => (file, format!("{quota} 100000")),
            _ => (cgroup.join("cpu.cfs_quota_us"), quota.to_string()),
        };
        let what = || format!("limit the CPU of {} by {}", self.name, file.display());
        let before = fs::read_to_string(&file).with_context(what)?;
        fs::write(&file, value).with_context(what)?;
        Ok(CpuLimit { file, before })
    }

    /// Lets a process of this machine take all the memory that it may have, until the kernel kills it.
    ///
    /// The kernel kills the one of the two that it likes least, which a pod's container is by a little: where
    /// the other was killed, it is tried again.
    ///
    /// # Errors
    /// When it has ended, or outlives whoever takes its memory.
    pub fn run_out_of_memory(&self) -> Result<()> {
        let cgroup = self.cgroup("memory")?;
        for _ in 0..HOGS {
            let mut hog = Command::new("sh");
            // It is killed in its turn.
            hog.args(["-c", HOG, "hog"]).arg(&cgroup);
            hog.stderr(Stdio::null()).status()?;
            // With its last process, the kubelet may take the directory away.
            let left = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            if left.trim().is_empty() {
                return Ok(());
            }
        }
        bail!("{} outlives whoever takes its memory", self.name)
    }

    /// Where its cgroup of a controller is on this machine, such as that of `memory`.
    ///
    /// # Errors
    /// When it has none.
    pub fn cgroup(&self, controller: &str) -> Result<PathBuf> {
        let pid = self.processes().into_iter().next();
        let pid = pid.with_context(|| format!("{} has no process", self.name))?;
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mut lines = text.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            Some((controllers, path.trim_start_matches('/')))
        });
        let root = Path::new("/sys/fs/cgroup");
        lines
            .find_map(|(controllers, path)| match controllers {
                "" => Some(root.join(path)),
                _ if controllers.split(',').any(|it| it == controller) => {
                    Some(root.join(controllers).join(path))
                }
                _ => None,
            })
            .filter(|path| path.is_dir())
            .with_context(|| format!("{} has no cgroup of {controller}:\n{text}", self.name))
    }
}

impl Drop for CpuLimit {
    fn drop(&mut self) {
        // With the container its cgroup may be gone.
        let _ = fs::write(&self.file, self.before.trim());
    }
}

impl Throttled {
    /// Of one cgroup, of version 1 or 2; none where it is gone.
    pub(super) fn read(cgroup: &Path) -> Option<Self> {
        let text = fs::read_to_string(cgroup.join("cpu.stat")).ok()?;
        Some(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let figure = |name: &str| {
            let mut words = text.lines().filter_map(|line| line.split_once(' '));
            let (_, figure) = words.find(|(word, _)| *word == name)?;
            figure.trim().parse().ok()
        };
        let time = figure("throttled_time").map(Duration::from_nanos);
        let time = time.or_else(|| figure("throttled_usec").map(Duration::from_micros));
        Self {
            periods: figure("nr_throttled").unwrap_or_default(),
            time: time.unwrap_or_default(),
        }
    }
}

impl Memory {
    /// Of one process; nothing where it is gone, or where the runtime has not yet replaced itself by the
    /// container's program: `runc` has five times the memory of a sidecar.
    fn of(pid: u32) -> Self {
        // First of all: what is the program now stays it.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with(RUNTIME) {
            return Self::default();
        }
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(path).unwrap_or_default();
        Self {
            resident: figure(&text, "Rss:").unwrap_or_default(),
            share: figure(&text, "Pss:").unwrap_or_default(),
        }
    }

    /// Each figure, where it is the larger one.
    #[must_use]
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            share: self.share.max(other.share),
        }
    }
}

/// A figure of `/proc/PID/smaps_rollup`, which is in kB, in bytes.
fn figure(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_cgroup_tells_how_it_was_throttled_in_either_version() {
        let first = "nr_periods 9\nnr_throttled 4\nthrottled_time 2500000\nnr_bursts 0\n";
        let second = "usage_usec 7\nnr_periods 9\nnr_throttled 4\nthrottled_usec 2500\n";
        let throttled = Throttled {
            periods: 4,
            time: Duration::from_micros(2_500),
        };
        assert_eq!(Throttled::parse(first), throttled);
        assert_eq!(Throttled::parse(second), throttled);
        assert_eq!(Throttled::parse("usage_usec 7\n"), Throttled::default());
    }

    #[test]
    fn a_process_has_at_most_its_share_of_what_it_has_resident() {
        let Memory { resident, share } = Memory::of(std::process::id());
        assert!(0 < share && share <= resident, "{share} of {resident}");
        assert_eq!(Memory::of(u32::MAX), Memory::default());
    }

    #[test]
    fn the_runtimes_process_is_not_counted_as_the_containers() {
        let has_memory = |name: &str| {
            let mut shell = Command::new("sh");
            shell.args([
                "-c",
                "printf %s \"$1\" >/proc/$$/comm; echo; read _",
                "sh",
                name,
            ]);
            let mut shell = shell
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let named = &mut [0];
            shell.stdout.as_mut().unwrap().read_exact(named).unwrap();
            let memory = Memory::of(shell.id());
            shell.stdin.take();
            shell.wait().unwrap();
            memory != Memory::default()
        };
        assert!(has_memory("shutdown-manag"));
        assert!(!has_memory("runc:[2:INIT]"));
    }
}
