//! The end that a person wishes.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

/// Runs until it ends, or until Ctrl-C or SIGTERM: then what it holds is dropped, and so taken down.
///
/// # Errors
/// Those of what is run, and when signals cannot be listened to.
pub async fn or_interrupted(run: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = run => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
