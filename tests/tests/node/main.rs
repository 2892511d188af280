//! Tests on real nodes: a kubelet stops what runs there. They need root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod cut;
mod ends;
mod envoy;
mod held;
mod image;
mod judgement;
mod residue;
mod rollouts;
mod sidecar;
mod soak;
