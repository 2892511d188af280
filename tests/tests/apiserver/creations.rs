//! Pods that are created by the thousand while something happens.

use std::time::Duration;

use drainhook_tests::{
    cluster::ApiServer,
    creations::{Creations, Order},
};

use crate::admission::{envoy_pod, opted_in, pods};

/// The webhook's entry that is called for these pods.
pub(crate) const ENTRY: &str = "pods.drainhook.io";

/// Creates pods until it is told to stop, so many at once; `names` begins the name of each pod.
pub(crate) fn begin(server: &ApiServer, names: &str, at_once: u64) -> Creations {
    let order = Order {
        pods: pods(server, "default"),
        pod: envoy_pod(names, opted_in()),
        dry_run: false,
        pause: Duration::ZERO,
    };
    Creations::begin(&order, names, at_once)
}
