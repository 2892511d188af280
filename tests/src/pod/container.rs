//! A container that runs: a process, or an application that the tests play.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

use super::spec::{Container as Spec, Hook};
use super::translate::Translation;
use crate::load::Upstream;
use crate::process::Process;

/// A container of a running pod.
#[derive(Debug)]
pub struct Container {
    /// What the manifest says about it.
    pub spec: Spec,
    /// Whether it is a native sidecar, and so ends after all main containers.
    pub sidecar: bool,
    pub(super) translation: Translation,
    pub(super) environment: Vec<(String, String)>,
    pub(super) termination_message: PathBuf,
    pub(super) running: Running,
}

/// What stands for the container.
#[derive(Debug)]
pub(super) enum Running {
    Process(Process),
    Played(Vec<Upstream>),
    Ended,
}

impl Container {
    /// The hook that is called before the container is told to end.
    pub fn pre_stop(&self) -> Option<&Hook> {
        self.spec.pre_stop()
    }

    /// Whether it is played by the tests instead of being run.
    pub fn is_played(&self) -> bool {
        matches!(self.running, Running::Played(_))
    }

    /// The container's own address and paths.
    pub fn translation(&self) -> &Translation {
        &self.translation
    }

    /// A command as `exec` runs it in this container: with its environment, addresses and paths.
    ///
    /// # Errors
    /// Where the command is empty.
    pub fn command(&self, command: &[String]) -> Result<Command> {
        let (program, arguments) = command.split_first().context("an empty command")?;
        let mut exec = Command::new(self.translation.text(program));
        exec.args(
            arguments
                .iter()
                .map(|argument| self.translation.text(argument)),
        )
        .env_clear()
        .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(exec)
    }

    /// Sends SIGTERM. What is played ends at once, with all its connections, as a process does
    /// that has no handler for it.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn terminate(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Process(process) => process.terminate(),
            Running::Played(_) | Running::Ended => {
                self.running = Running::Ended;
                Ok(())
            }
        }
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Process(process) => process.kill().map(drop),
            Running::Played(_) | Running::Ended => {
                self.running = Running::Ended;
                Ok(())
            }
        }
    }

    /// Waits for its end; false where it still runs after so long.
    pub async fn ended_within(&mut self, bound: Duration) -> bool {
        match &mut self.running {
            Running::Process(process) => process.wait(bound).await.is_ok(),
            Running::Played(_) => {
                tokio::time::sleep(bound).await;
                false
            }
            Running::Ended => true,
        }
    }

    /// Its exit status, where it has ended by itself or by a signal.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.running {
            Running::Process(process) => process.exited(),
            Running::Played(_) | Running::Ended => Ok(None),
        }
    }

    /// What it has written to standard output and standard error.
    pub fn log(&self) -> String {
        match &self.running {
            Running::Process(process) => process.log(),
            Running::Played(_) | Running::Ended => String::new(),
        }
    }

    /// What it has written to its termination message path.
    pub fn termination_message(&self) -> Option<String> {
        fs::read_to_string(&self.termination_message)
            .ok()
            .filter(|message| !message.is_empty())
    }

    /// How it runs, in words.
    pub fn describe(&self) -> String {
        match &self.running {
            Running::Process(process) => format!("process {}", process.pid()),
            Running::Played(upstreams) if upstreams.is_empty() => "left out".to_owned(),
            Running::Played(upstreams) => {
                let ports: Vec<_> = upstreams
                    .iter()
                    .map(|upstream| upstream.address().port().to_string())
                    .collect();
                format!("played on port {}", ports.join(", "))
            }
            Running::Ended => "ended".to_owned(),
        }
    }
}
