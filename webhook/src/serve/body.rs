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

/// Adds to `share` what the tree of the values in `body` may take.
///
/// A few bytes of text can become hundreds of bytes of tree (`[{},{},{}`), so the bytes of the body say
/// little. What makes values is counted: each needs one of four characters before it. Those inside of
/// strings are counted too, which errs on the safe side.
pub(super) fn reserve_tree(body: &[u8], share: &mut Share) -> Result<(), BodyError> {
    share
        .grow(tree_size(body))
        .map_err(|exhausted| match exhausted {
            Exhausted::Now => BodyError::NoMemory,
            Exhausted::Ever => BodyError::TooManyValues,
        })
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
        share
            .grow((room - collected.capacity()) as u64)
            .map_err(|_| BodyError::NoMemory)?;
        collected.reserve_exact(room - collected.len());
    }
    collected.extend_from_slice(data);
    Ok(())
}

/// Bytes of the heap, at most, that a `serde_json::Value` of this text takes.
fn tree_size(body: &[u8]) -> u64 {
    body.iter()
        .map(|byte| u64::from(COST[usize::from(*byte)]))
        .sum()
}

/// What each byte of text may cost as part of a tree: itself in a string, and what the four characters
/// that make values bring with them. The figures are those of `serde_json` with `preserve_order`: 72
/// bytes a value, vectors that double, a hash table in each object. They are estimates that err on the high side.
const COST: [u16; 256] = {
    let mut cost = [1; 256];
    cost[b'{' as usize] = 640;
    cost[b'[' as usize] = 320;
    cost[b',' as usize] = 260;
    cost[b':' as usize] = 96;
    cost
};
