//! What happens to a container without being asked for: signals, and the memory that it takes.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ContainerStatus;
use rustix::process::{Pid, Signal, kill_process};

/// A running container, by its processes. They are found by their cgroup, which is called after the
/// container.
#[derive(Clone, Debug)]
pub struct Container {
    name: String,
    id: String,
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
        let processes = self.processes();
        ensure!(!processes.is_empty(), "{} has no process", self.name);
        for process in processes {
            let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
            let pid = pid.context("not a process id")?;
            kill_process(pid, signal).with_context(|| format!("{signal:?} to {}", self.name))?;
        }
        Ok(())
    }

    /// The resident memory of its processes, in bytes.
    pub fn resident(&self) -> u64 {
        let processes = self.processes().into_iter();
        processes.filter_map(|pid| status(pid, "VmRSS:")).sum()
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

/// A figure of `/proc/PID/status`, which is in kB, in bytes.
fn status(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
