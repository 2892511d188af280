//! Waiting for what comes about by itself, on a machine that may be busy.

use std::{cell::Cell, time::Duration};

use anyhow::{Context, Result};
use tokio::time;

/// How long anything may take before a test gives it up. A test that waits this long has failed: on
/// an idle machine each of these waits takes seconds at most.
pub const BOUND: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(20);

/// Asks `probe` until it gives something.
///
/// # Errors
/// When it has given nothing for three minutes; the message names `what` was waited for.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            time::sleep(POLL).await;
        }
    };
    within(what, found).await
}

/// Waits for the end of `future`.
///
/// # Errors
/// When it has not come in three minutes; the message names `what` was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let bounded = time::timeout(BOUND, future).await;
    RAN_OUT.set(RAN_OUT.get() || bounded.is_err());
    bounded.with_context(|| format!("{what}: not within {BOUND:?}"))
}

/// Whether a wait on this thread, which is to say of this test, was given up.
pub(crate) fn ran_out() -> bool {
    RAN_OUT.get()
}

thread_local! {
    static RAN_OUT: Cell<bool> = const { Cell::new(false) };
}
