//! What happens to a container without being asked for: signals, and the memory that it takes.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ContainerStatus;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

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

    /// Where its cgroup of a controller is on this machine, such as that of `memory`.
    ///
    /// # Errors
    /// When it has none.
    pub fn cgroup(&self, controller: &str) -> Result<std::path::PathBuf> {
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

impl Memory {
    /// Of one process; nothing where it is gone.
    fn of(pid: u32) -> Self {
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
    use super::*;

    #[test]
    fn a_process_has_at_most_its_share_of_what_it_has_resident() {
        let Memory { resident, share } = Memory::of(std::process::id());
        assert!(0 < share && share <= resident, "{share} of {resident}");
        assert_eq!(Memory::of(u32::MAX), Memory::default());
    }
}
