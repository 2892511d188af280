//! Child processes: started with their output in a file, signalled, and gone when dropped.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How often a process is asked whether it has ended. A wait for SIGCHLD would need a runtime that
/// outlives every test; this costs one system call each time.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// How much of its log is shown when a test fails.
const LOG_TAIL_LINES: usize = 60;

/// A child process. Standard output and standard error go to one file. Dropping it sends SIGKILL and
/// waits for the end, so that nothing is left behind; when a test is failing at that moment, the tail
/// of its log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    started: Instant,
    exit: Option<ExitStatus>,
    directory: TempDir,
}

impl Process {
    /// Starts `command` under `name`, which is what log tails and errors call it.
    ///
    /// # Errors
    /// When the program cannot be started, or there is no place for its log.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let directory = TempDir::with_prefix("drainhook-").context("make a temporary directory")?;
        let log = File::create(directory.path().join("log")).context("make a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {name}: {}", command.get_program().display()))?;
        let started = Instant::now();
        Ok(Self {
            name: name.to_owned(),
            child,
            started,
            exit: None,
            directory,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Where its output goes.
    pub fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// All that it has written so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Sends a signal. Nothing happens when the process has ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        // Not reaped, so the number is still this process's own.
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} is not a process id", self.pid()))?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// SIGTERM: what the kubelet sends first.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGKILL, and waits for the end. A process that hangs in [`Process::pause`] dies too.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        let status = match self.exit {
            Some(status) => status,
            None => self
                .child
                .wait()
                .with_context(|| format!("wait for {}", self.name))?,
        };
        self.exit = Some(status);
        Ok(status)
    }

    /// SIGSTOP: the process hangs, its sockets stay open.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: ends a [`Process::pause`].
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Its exit status, or `None` while it runs.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self
                .child
                .try_wait()
                .with_context(|| format!("ask how {} ended", self.name))?;
        }
        Ok(self.exit)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `bound`.
    pub async fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if begun.elapsed() > bound {
                bail!("{} still runs after {bound:?}", self.name);
            }
            tokio::time::sleep(EXIT_POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
        if thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_TAIL_LINES);
            eprintln!(
                "--- log of {} (pid {}), {skipped} lines before:",
                self.name,
                self.pid()
            );
            for line in log.lines().skip(skipped) {
                eprintln!("    {line}");
            }
        }
    }
}
