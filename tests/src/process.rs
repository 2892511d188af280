//! Child processes: started with their output in a file, signalled, and gone when dropped.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait;

/// How often a process is asked whether it has ended. A wait for SIGCHLD would need a runtime that
/// outlives every test; this costs one system call each time.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// How much of its log is shown when a test fails.
const LOG_TAIL_LINES: usize = 25;

/// A child process. Standard output and standard error go to one file. Dropping it sends SIGKILL and
/// waits for the end, so that nothing is left behind; when a test is failing at that moment, the tail
/// of its log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    started: Instant,
    exit: Option<ExitStatus>,
    log: PathBuf,
    // Removed with the value, where the log is in a place of its own.
    _directory: Option<TempDir>,
}

impl Process {
    /// Starts `command` under `name`, which is what log tails and errors call it.
    ///
    /// # Errors
    /// When the program cannot be started, or there is no place for its log.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let directory = TempDir::with_prefix("drainhook-").context("make a temporary directory")?;
        let log = directory.path().join("log");
        log_to(&mut command, &log)?;
        let child = command.spawn().with_context(|| starting(name, &command))?;
        Ok(Self::new(name, child, log, Some(directory)))
    }

    /// Starts `command` so that the kernel kills it as soon as this process is gone, however it
    /// ended: for what would otherwise outlive a killed test. Its output goes to `log`, which is the
    /// caller's to remove. Of `command` the program, arguments, environment variables and directory
    /// count.
    ///
    /// It is started from a thread that lives as long as this process, since the kernel takes the end
    /// of the starting thread for the end of the parent, and a test is a thread. It is therefore not
    /// in a namespace that the calling thread has entered.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn spawn_tethered(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let mut tethered = Command::new("setpriv");
        tethered.args(["--pdeathsig", "KILL", "--"]);
        tethered.arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => tethered.env(variable, value),
                None => tethered.env_remove(variable),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            tethered.current_dir(directory);
        }
        log_to(&mut tethered, log)?;
        let child = spawn_from_lasting_thread(tethered).with_context(|| starting(name, command))?;
        Ok(Self::new(name, child, log.to_owned(), None))
    }

    fn new(name: &str, child: Child, log: PathBuf, directory: Option<TempDir>) -> Self {
        Self {
            name: name.to_owned(),
            child,
            started: Instant::now(),
            exit: None,
            log,
            _directory: directory,
        }
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
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The last lines of [`Process::log`], under a heading: for an error.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let skipped = log.lines().count().saturating_sub(LOG_TAIL_LINES);
        let mut tail = format!(
            "--- log of {} (pid {}), {skipped} lines before:\n",
            self.name,
            self.pid()
        );
        for line in log.lines().skip(skipped) {
            tail.push_str("    ");
            tail.push_str(line);
            tail.push('\n');
        }
        tail
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
        if thread::panicking() || wait::ran_out() {
            eprint!("{}", self.log_tail());
        }
    }
}

fn log_to(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("make {}", log.display()))?;
    let stdout = file.try_clone().context("share the log file")?;
    command.stdin(Stdio::null()).stdout(stdout).stderr(file);
    Ok(())
}

fn starting(name: &str, command: &Command) -> String {
    format!("start {name}: {}", command.get_program().display())
}

fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static STARTER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                // The one who ordered waits for the reply, and is there.
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, started) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    STARTER.send((command, reply)).map_err(|_| gone())?;
    started.recv().map_err(|_| gone())?
}
