//! Tests of an installation on nodes: the images that are shipped, the chart, and what happens to
//! gateways while the webhook comes, goes, and is changed. They need root, or a cluster that
//! `DRAINHOOK_TEST_CONTEXT` names.
//!
//! What the chart installs belongs to the whole cluster, so the tests share one, and run one after the
//! other, each beginning with a cluster in which nothing is installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod life;
mod objects;
mod options;
mod registry;
mod rights;
mod rollouts;
mod stage;
mod storm;
mod upgrade;
