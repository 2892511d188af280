//! The sidecar, as it is shipped, against the real Envoy.
//!
//! Nothing here looks into the sidecar: it is started with flags, asked over HTTP, sent signals, and
//! judged by what clients of Envoy see. The Envoy is the usual one (see
//! `drainhook_tests::envoy::Wanted`); the drain of each protocol is shown on the oldest and the newest
//! supported one, and `DRAINHOOK_ENVOY_VERSION=1.36.2 cargo test` runs all the rest on that one too.
//!
//! No test asserts that something took no longer than so: a machine, or one process on it, may be held up for
//! seconds. What is asserted is order ("the answer to the request came before the answer to the hook"), count,
//! and that something took no less. Where a drain must not end in the meantime, something holds it.

// In tests a panic is how a test fails; clippy sees that in `#[test]` functions only.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

/// Declares these functions, which take a release of Envoy, as a test on the oldest and one on the
/// newest supported release.
macro_rules! on_oldest_and_newest {
    ($($name:ident),+ $(,)?) => {
        mod on_the_oldest {
            $(
                #[tokio::test]
                async fn $name() -> anyhow::Result<()> {
                    super::$name(drainhook_tests::envoy::OLDEST).await
                }
            )+
        }
        mod on_the_newest {
            $(
                #[tokio::test]
                async fn $name() -> anyhow::Result<()> {
                    super::$name(drainhook_tests::envoy::NEWEST).await
                }
            )+
        }
    };
}

mod arrivals;
mod classic;
mod command;
mod cost;
mod faults;
mod hooks;
mod listeners;
mod protocols;
mod quiet;
mod restarts;
mod serving;
mod several;
mod slow;
mod stage;
mod surroundings;
