//! Reading a request's body within a budget of bytes that all requests share.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use thiserror::Error;

use super::shares::{Exhausted, Share};

/// Why a body was not read.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("the body is longer than {} MiB", LONGEST / 1024 / 1024)]
    TooLong,
    #[error("the body holds more JSON values than this server has memory for")]
    TooManyValues,
    #[error("this server has no memory to spare for the body now; try again")]
    NoMemory,
    #[error("the body did not come within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the body ended early: {0}")]
    Broken(axum::Error),
}

impl From<Exhausted> for BodyError {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Now => Self::NoMemory,
            Exhausted::Ever => Self::TooManyValues,
        }
    }
}

/// Bytes. The API server takes objects of up to 3 MiB; a review of an update carries two of them and
/// something around. controller-runtime settled on the same bound for the same reason.
pub(super) const LONGEST: usize = 7 * 1024 * 1024;

/// The API server sends the whole body at once, and the registered time-out is 5 s: an answer to
/// what comes later than that is read by nobody.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes to begin with: a usual review is 2 to 12 kB.
const FIRST: usize = 8 * 1024;

/// Reads all of `body`, and adds what it takes to `share` before it is taken.
pub(super) async fn read(
    body: &mut Body,
    announced: Option<usize>,
    share: &mut Share,
) -> Result<Vec<u8>, BodyError> {
    if announced.is_some_and(|length| length > LONGEST) {
        return Err(BodyError::TooLong);
    }
    tokio::time::timeout(TIMEOUT, collect(body, announced, share))
        .await
        .unwrap_or(Err(BodyError::Timeout))
}

/// Adds to `share` what deciding about the values in `body` may take.
///
/// A few bytes of text can become hundreds of bytes of tree (`[{},{},{}`), so the bytes of the body say
/// little. What makes values is counted: each needs one of four characters before it. Those inside of
/// strings are counted too, which errs on the safe side.
pub(super) fn reserve(body: &[u8], share: &mut Share) -> Result<(), BodyError> {
    Ok(share.grow(cost(body))?)
}

async fn collect(
    body: &mut Body,
    announced: Option<usize>,
    share: &mut Share,
) -> Result<Vec<u8>, BodyError> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        append(&mut collected, &data, announced, share)?;
    }
    Ok(collected)
}

/// Doubles the room, but not over what was announced. What is only announced is not reserved: one
/// could announce much and send nothing.
fn append(
    collected: &mut Vec<u8>,
    data: &Bytes,
    announced: Option<usize>,
    share: &mut Share,
) -> Result<(), BodyError> {
    let needed = collected.len() + data.len();
    if needed > LONGEST {
        return Err(BodyError::TooLong);
    }
    if needed > collected.capacity() {
        let most = announced.unwrap_or(LONGEST).max(needed);
        let room = needed.max(collected.capacity() * 2).max(FIRST).min(most);
        // While it is moved both are there.
        let moved_from = collected.capacity();
        share.grow(room as u64)?;
        collected.reserve_exact(room - collected.len());
        share.shrink(moved_from as u64);
    }
    collected.extend_from_slice(data);
    Ok(())
}

/// Bytes of the heap, at most, that deciding about a review of this text takes, besides the text.
pub(super) fn cost(body: &[u8]) -> u64 {
    let values: u64 = body
        .iter()
        .map(|byte| u64::from(COST[usize::from(*byte)]))
        .sum();
    FIXED + values
}

/// Bytes: the sidecar, the patch, the annotation of the status and the answer.
const FIXED: u64 = 96 * 1024;

/// What each byte of text may cost: as part of a string, and what the four characters that make values
/// bring with them. There are two copies at most (the object, and the one that is patched step by step) and
/// room for a third of what is in the patch, and what was parsed has twice the room that it needs. The
/// figures are those of `serde_json` with `preserve_order` (72 bytes a value, 104 an entry of
/// an object and as much again for its hash table), with 24 bytes for each allocation; the tests
/// in `serve/tests/memory.rs` hold them against what is really allocated.
const COST: [u16; 256] = {
    let mut cost = [3; 256];
    cost[b'{' as usize] = 960;
    cost[b'[' as usize] = 540;
    cost[b',' as usize] = 380;
    cost[b':' as usize] = 400;
    cost
};
