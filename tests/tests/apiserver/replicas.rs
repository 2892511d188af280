//! Replicas that come, go, hang and die while pods are created by the thousand.

use std::time::Duration;

use drainhook_tests::{
    cluster::{ApiServer, Version},
    creations::Failure,
};

use crate::{
    creations::{self, ENTRY},
    site::{BOTH, FAIL, Installed, Site},
};

/// How long a replica needs to end after SIGTERM: its delay and the rest of its requests.
const END_BOUND: Duration = Duration::from_secs(60);

/// How late the API server learns that a replica is no endpoint any more. On a cluster that takes
/// the probe's period and the way through the endpoints' controller.
const LATE: Duration = Duration::from_secs(2);

/// Creations at once.
const AT_ONCE: u64 = 8;

/// As a Deployment with maxUnavailable 0 does: first the new one, then the old one goes.
pub(crate) async fn replace_oldest(installed: &mut Installed<'_>) {
    let new = installed.installation.replica().await.unwrap();
    let mut old = installed.replicas.remove(0);
    installed.replicas.push(new);
    installed.publish_with(&[&old]).await;
    old.process.terminate().unwrap();
    tokio::time::sleep(LATE).await;
    installed.publish().await;
    let status = old.process.wait(END_BOUND).await.unwrap();
    assert!(status.success(), "{}", old.process.log_tail());
}

#[tokio::test]
async fn replicas_are_replaced_one_after_the_other_and_no_creation_fails() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let mut installed = site.serve(&[FAIL], 3).await;
        let creations = creations::begin(&site.server, "pod", AT_ONCE);
        for _ in 0..6 {
            creations.more(200).await;
            replace_oldest(&mut installed).await;
        }
        creations.more(200).await;
        let made = creations.end_without_a_failure().await.unwrap();
        assert!(made > 1400, "{made}");
    }
}

#[tokio::test]
async fn a_killed_replica_costs_its_open_calls_at_most_and_nothing_afterwards() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let mut installed = site.serve(&[FAIL], 3).await;
    let before = failed_calls(&site.server).await;
    let creations = creations::begin(&site.server, "pod", AT_ONCE);
    creations.more(300).await;
    let mut killed = installed.replicas.remove(0);
    // In a cluster the dead address answers nobody, and the Service forgets it.
    installed.publish().await;
    killed.process.kill().unwrap();
    creations.more(300).await;
    let (_, failures) = creations.end().await;
    assert!(
        failures.len() as u64 <= AT_ONCE,
        "one open call per connection: {failures:#?}"
    );
    all_are_failed_calls(&site.server, before, &failures).await;
    nothing_fails_afterwards(&site.server).await;
}

#[tokio::test]
async fn a_replica_that_hangs_costs_its_open_calls_at_most_each_within_the_time_out() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let mut installed = site.serve(&[FAIL, "webhook.timeoutSeconds=3"], 3).await;
    let before = failed_calls(&site.server).await;
    let creations = creations::begin(&site.server, "pod", AT_ONCE);
    creations.more(300).await;
    let mut hung = installed.replicas.remove(0);
    hung.process.pause().unwrap();
    installed.publish().await;
    creations.more(600).await;
    let (made, failures) = creations.end().await;
    // Those that were under way, and those that had connected and not yet shaken hands.
    assert!(
        failures.len() as u64 <= 2 * AT_ONCE,
        "of {made}: {failures:#?}"
    );
    all_are_failed_calls(&site.server, before, &failures).await;
    for failure in &failures {
        // The request's own deadline is 34 s; the webhook's 3 s ends it long before.
        assert!(failure.after < Duration::from_secs(20), "{failure:?}");
    }
    let metrics = site.server.metrics().await.unwrap();
    assert_eq!(metrics.webhook_slower_than(ENTRY, 10.0), Some(0.0));
    hung.process.kill().unwrap();
    nothing_fails_afterwards(&site.server).await;
}

/// Calls of the webhook that the API server counts as failed.
async fn failed_calls(server: &ApiServer) -> f64 {
    let metrics = server.metrics().await.unwrap();
    metrics.webhook_rejections(ENTRY, "calling_webhook_error")
}

/// Each failure is the webhook's, and the API server has counted each.
async fn all_are_failed_calls(server: &ApiServer, before: f64, failures: &[Failure]) {
    for failure in failures {
        let called = failure.what.contains("failed calling webhook");
        assert!(called, "{failure:?}");
    }
    let counted = failed_calls(server).await - before;
    assert_eq!(counted, failures.len() as f64, "{failures:#?}");
}

async fn nothing_fails_afterwards(server: &ApiServer) {
    let creations = creations::begin(server, "later", AT_ONCE);
    creations.more(300).await;
    creations.end_without_a_failure().await.unwrap();
}
