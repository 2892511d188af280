//! A network namespace for one test, as a pod has one: nobody else's connections are in it.

use std::{
    fs::File,
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs a test in a network namespace of its own, with a loopback interface and nothing else. All that
/// the test starts is in it too.
///
/// Returns `None`, with a word on standard error, where the kernel lets only root make one and this
/// is not root.
///
/// # Errors
/// When the namespace cannot be entered although it could be made, or the test fails.
pub fn run<T, F>(test: impl FnOnce() -> F + Send) -> Result<Option<T>>
where
    F: Future<Output = Result<T>>,
    T: Send,
{
    let Some(holder) = Holder::start()? else {
        crate::skip::skip("only root can make a network namespace here");
        return Ok(None);
    };
    let outcome = thread::scope(|scope| {
        // A namespace is entered by one thread: this one, which is gone afterwards.
        let inside = scope.spawn(|| -> Result<T> {
            holder.enter()?;
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(test())
        });
        inside.join()
    });
    match outcome {
        Ok(outcome) => outcome.map(Some),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A process in the namespace, which keeps it alive: `cat`, until its standard input is closed.
struct Holder {
    child: Child,
}

impl Holder {
    fn start() -> Result<Option<Self>> {
        let mut child = Command::new("unshare")
            .args([
                "--net",
                "--",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start unshare (of util-linux)")?;
        let mut said = [0; 3];
        let stdout = child
            .stdout
            .as_mut()
            .context("unshare has no standard output")?;
        if std::io::Read::read_exact(stdout, &mut said).is_err() {
            let status = child.wait()?;
            if rustix::process::geteuid().is_root() {
                bail!("unshare --net ended with {status}; is `ip` (of iproute2) installed?");
            }
            return Ok(None);
        }
        Ok(Some(Self { child }))
    }

    fn enter(&self) -> Result<()> {
        let path = format!("/proc/{}/ns/net", self.child.id());
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("enter {path}"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
