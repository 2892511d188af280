//! Waiting for what comes about by itself, on a machine that may be busy.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before a test gives it up. A test that waits this long has failed: on
/// an idle machine each of these waits takes seconds at most.
const BOUND: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(20);

/// Asks `probe` until it gives something.
///
/// # Errors
/// When it has given nothing for three minutes; the message names `what` was waited for.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return Ok(found);
        }
        if begun.elapsed() > BOUND {
            bail!("{what}: not within {BOUND:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}
