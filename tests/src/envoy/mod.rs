//! The real Envoy: found, started on addresses of the caller's choice, and gone when dropped.

mod admin;
mod binary;

use std::{
    ffi::OsString,
    fs,
    ops::{Deref, DerefMut},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

pub use self::{
    admin::{Admin, Answer},
    binary::{Binary, NEWEST, OLDEST, Wanted},
};
use crate::{process::Process, wait::BOUND};

/// How often a starting Envoy is asked whether it is ready.
const START_POLL: Duration = Duration::from_millis(20);

/// What Envoy writes to its log when its listeners take connections; the only sign of it where the
/// admin interface is switched off.
const SERVING: &str = "starting main dispatch loop";

/// How to start an Envoy.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use drainhook_tests::{address::Loopback, envoy::{Binary, Start, Wanted}};
///
/// let address = Loopback::claim()?;
/// let bootstrap = serde_json::json!({
///     "admin": { "address": { "socket_address": { "address": address.ip(), "port_value": 9901 } } },
/// });
/// let envoy = Start::new(&Binary::find(Wanted::Usual)?).bootstrap(bootstrap).run().await?;
/// assert_eq!(envoy.admin()?.get("/ready").await?.status, 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Start {
    binary: Binary,
    name: String,
    bootstrap: Option<Value>,
    admin: Option<Admin>,
    arguments: Vec<OsString>,
    own_arguments_only: bool,
}

impl Start {
    /// An Envoy that has no configuration yet.
    pub fn new(binary: &Binary) -> Self {
        Self {
            binary: binary.clone(),
            name: "envoy".to_owned(),
            bootstrap: None,
            admin: None,
            arguments: Vec::new(),
            own_arguments_only: false,
        }
    }

    /// What logs and errors call it.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Its bootstrap configuration; where the admin interface is, is read from it.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: Value) -> Self {
        self.admin = Admin::of_bootstrap(&bootstrap);
        self.bootstrap = Some(bootstrap);
        self
    }

    /// Where its admin interface is, when the configuration is given by [`Start::argument`].
    #[must_use]
    pub fn admin(mut self, admin: Admin) -> Self {
        self.admin = Some(admin);
        self
    }

    /// One more argument of the command line.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it with [`Start::argument`]'s alone, without those that tests want (two workers, no hot
    /// restart): a command line of somebody else's manifest, for example.
    #[must_use]
    pub fn own_arguments_only(mut self) -> Self {
        self.own_arguments_only = true;
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// When it does not start, ends, or does not serve in time; with the end of its log.
    pub async fn run(&self) -> Result<Envoy> {
        let mut envoy = self.spawn()?;
        envoy.serving().await?;
        Ok(envoy)
    }

    /// Starts it, and does not wait. See [`Envoy::serving`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(&self) -> Result<Envoy> {
        let directory = TempDir::with_prefix("drainhook-envoy-").context("make a directory")?;
        let mut command = Command::new(self.binary.path());
        if !self.own_arguments_only {
            // Without hot restart there is no shared memory, so any number of them run side by side.
            command.args(["--disable-hot-restart", "--concurrency", "2"]);
        }
        if let Some(bootstrap) = &self.bootstrap {
            let path = directory.path().join("bootstrap.json");
            fs::write(&path, bootstrap.to_string()).context("write the bootstrap")?;
            command.arg("--config-path").arg(path);
        }
        command.args(&self.arguments);
        let process = Process::spawn(&self.name, command)?;
        Ok(Envoy {
            process,
            start: self.clone(),
            _directory: directory,
        })
    }
}

/// A running Envoy: a [`Process`] (signals, exit, log) with an admin interface. Dropping it kills it.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    start: Start,
    _directory: TempDir,
}

impl Envoy {
    /// Its admin interface.
    ///
    /// # Errors
    /// When it has none.
    pub fn admin(&self) -> Result<&Admin> {
        self.start
            .admin
            .as_ref()
            .context("this Envoy has no admin interface")
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it ends, or does not serve in time; with the end of its log.
    pub async fn serving(&mut self) -> Result<()> {
        let begun = Instant::now();
        while !self.serves().await {
            let ended = self.process.exited()?;
            if ended.is_some() || begun.elapsed() > BOUND {
                let log = self.process.log();
                let tail: Vec<_> = log.lines().rev().take(5).collect();
                bail!("Envoy does not serve (exit status: {ended:?}); its log ends in {tail:#?}");
            }
            tokio::time::sleep(START_POLL).await;
        }
        Ok(())
    }

    /// Kills it, if it still runs, and starts another one in its place, on the same addresses.
    ///
    /// # Errors
    /// As [`Start::run`].
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        *self = self.start.run().await?;
        Ok(())
    }

    async fn serves(&self) -> bool {
        match &self.start.admin {
            Some(admin) => admin
                .get("/ready")
                .await
                // One that was told to drain before anybody looked serves, too.
                .is_ok_and(|answer| answer.status == 200 || answer.body.starts_with("DRAINING")),
            None => self.process.log().contains(SERVING),
        }
    }
}

impl Deref for Envoy {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Envoy {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Loopback;

    #[tokio::test]
    async fn an_envoy_starts_hangs_restarts_and_is_gone_when_dropped() {
        let address = Loopback::claim().unwrap();
        let bootstrap = serde_json::json!({
            "admin": {
                "address": { "socket_address": { "address": address.ip(), "port_value": 9901 } }
            }
        });
        let binary = Binary::find(Wanted::Usual).unwrap();
        let mut envoy = Start::new(&binary)
            .bootstrap(bootstrap)
            .run()
            .await
            .unwrap();
        let admin = envoy.admin().unwrap().clone();
        assert!(
            admin
                .get("/server_info")
                .await
                .unwrap()
                .body
                .contains("LIVE")
        );

        let first = envoy.pid();
        envoy.restart().await.unwrap();
        assert_ne!(envoy.pid(), first);
        assert_eq!(admin.get("/ready").await.unwrap().status, 200);

        drop(envoy);
        assert!(admin.get("/ready").await.is_err());
    }
}
