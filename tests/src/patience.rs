//! Waiting for what must come sooner or later, and giving up with a word on what did not come.

use std::{cell::Cell, time::Duration};

use anyhow::{Context, Result};
use tokio::time;

/// How long anything is waited for. Nothing that is waited for takes a tenth of it on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until a condition holds.
///
/// # Errors
/// When it never does, or cannot be looked at.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let looks = async {
        while !condition().await? {
            time::sleep(LOOK).await;
        }
        Ok(())
    };
    within(what, looks).await?
}

/// Waits for the end of something.
///
/// # Errors
/// When it never comes.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let bounded = time::timeout(PATIENCE, future).await;
    RAN_OUT.set(RAN_OUT.get() || bounded.is_err());
    bounded.with_context(|| format!("not within {PATIENCE:?}: {what}"))
}

/// Whether a wait on this thread, which is to say of this test, was given up.
pub(crate) fn ran_out() -> bool {
    RAN_OUT.get()
}

thread_local! {
    static RAN_OUT: Cell<bool> = const { Cell::new(false) };
}
