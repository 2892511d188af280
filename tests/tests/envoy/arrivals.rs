//! What keeps coming to an Envoy that is drained.

use std::time::{Duration, Instant};

use anyhow::Result;
use drainhook_tests::sidecar::Hook;

/// How often something comes to see that it holds up the end.
pub(crate) const TIMES: u32 = 12;

/// Does something again and again, for half as long again as `quiet` at least, and sees that each time puts off
/// the end of the drain by `quiet`. Something of the kind must have happened before the drain: where nothing ever
/// came, nothing is waited for.
pub(crate) async fn put_off_the_end(
    hook: Hook,
    quiet: Duration,
    mut something: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let mut came = vec![(hook.begun(), hook.begun())];
    for _ in 0..TIMES {
        if hook.is_finished() {
            break;
        }
        let begun = Instant::now();
        something().await?;
        came.push((begun, Instant::now()));
        tokio::time::sleep(quiet / 8).await;
    }
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    // Where this machine, or this process, was held up for so long that a drain may end meanwhile, it may have.
    let held_up = came.windows(2).any(|two| two[1].1 - two[0].0 >= quiet);
    let times = came.len() - 1;
    let since = answer.at - came[times].0;
    assert!(
        since >= quiet || held_up,
        "the drain ended {since:?} after something came, the {times}. time"
    );
    Ok(())
}
