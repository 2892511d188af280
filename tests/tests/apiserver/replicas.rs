//! Replicas that come, go, hang and die while pods are created by the thousand.

use std::time::Duration;

use drainhook_tests::{
    cluster::{ApiServer, Version},
    creations::Failure,
    installation::Replica,
    wait::{BOUND, within},
};
use tokio::time::timeout;

use crate::{
    creations::{self, ENTRY},
    site::{BOTH, FAIL, Installed, Site, until_learned},
};

/// How late the API server learns that a replica is no endpoint any more. On a cluster that takes
/// the probe's period and the way through the endpoints' controller.
const LATE: Duration = Duration::from_secs(2);

/// What a replica that is replaced serves on for: far longer, should the machine stand still meanwhile.
pub(crate) const FAREWELL: &str = "server.stopDelaySeconds=20";

/// Creations at once.
const AT_ONCE: u64 = 8;

/// The registered time-out where a replica hangs.
const TIME_OUT: Duration = Duration::from_secs(3);

/// What the API server gives the whole request, which is what would end a call otherwise.
const REQUEST: Duration = Duration::from_secs(34);

/// The replicas' port 8443, and the state of the socket that it listens on, as the kernel writes them.
const PORT: &str = "20FB";
const LISTEN: &str = "0A";

/// As a Deployment with maxUnavailable 0 does: first the new one, then the old one goes. It is not waited for.
pub(crate) async fn replace_oldest(installed: &mut Installed<'_>) {
    let new = installed.installation.replica().await.unwrap();
    let mut old = installed.replicas.remove(0);
    installed.replicas.push(new);
    installed.publish_with(&[&old]).await;
    old.process.terminate().unwrap();
    tokio::time::sleep(LATE).await;
    installed.publish().await;
    installed.leaving.push(old);
}

/// Waits until all that were replaced have ended, which they do in good order.
pub(crate) async fn until_left(installed: &mut Installed<'_>) {
    for old in &mut installed.leaving {
        let status = old.process.wait(BOUND).await.unwrap();
        assert!(status.success(), "{}", old.process.log_tail());
    }
}

#[tokio::test]
async fn replicas_are_replaced_one_after_the_other_and_no_creation_fails() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let mut installed = site.serve(&[FAIL, FAREWELL], 3).await;
        let creations = creations::begin(&site.server, "pod", AT_ONCE);
        for _ in 0..6 {
            creations.more(200).await;
            replace_oldest(&mut installed).await;
        }
        creations.more(200).await;
        until_left(&mut installed).await;
        let made = creations.end_without_a_failure().await.unwrap();
        assert!(made > 1400, "{made}");
    }
}

#[tokio::test]
async fn a_killed_replica_costs_its_open_calls_and_those_that_dial_it_and_nothing_afterwards() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let mut installed = site.serve(&[FAIL], 3).await;
    let creations = creations::begin(&site.server, "pod", AT_ONCE);
    let before = failed_calls(&site.server).await;
    creations.more(300).await;
    let mut killed = installed.replicas.remove(0);
    // Nobody has told the Service: the API server goes on choosing the dead address.
    killed.process.kill().unwrap();
    creations.more(300).await;
    let (_, mut failures) = creations.end().await;
    all_are_failed_calls(&site.server, before, &failures).await;
    let is_refused = |failure: &Failure| failure.what.contains("connection refused");
    let open = failures.iter().filter(|failure| !is_refused(failure));
    let open = open.count() as u64;
    assert!(open <= AT_ONCE, "one open call per worker: {failures:#?}");
    let seen = fail_until(&mut installed, &mut failures, is_refused);
    within("a call that dials the dead replica", seen)
        .await
        .unwrap();
    for failure in &failures {
        // A dead process refuses or resets, so nobody waits for the time-out.
        let waited = failure.what.contains("deadline exceeded");
        assert!(!waited, "{failure:?}");
    }
    replace_missing(&mut installed).await;
    nothing_fails_afterwards(&mut installed).await;
}

#[tokio::test]
async fn a_replica_that_hangs_costs_its_calls_the_time_out_and_nothing_once_it_is_no_endpoint() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let time_out = format!("webhook.timeoutSeconds={}", TIME_OUT.as_secs());
    let mut installed = site.serve(&[FAIL, &time_out], 3).await;
    let creations = creations::begin(&site.server, "pod", AT_ONCE);
    let before = failed_calls(&site.server).await;
    creations.more(300).await;
    let mut hung = installed.replicas.remove(0);
    hung.process.pause().unwrap();
    creations.more(100).await;
    let (_, mut failures) = creations.end().await;
    all_are_failed_calls(&site.server, before, &failures).await;
    let seen = fail_until(&mut installed, &mut failures, |_| true);
    within("a call that the hung replica gets", seen)
        .await
        .unwrap();
    let ends = format!("timeout={}s", TIME_OUT.as_secs());
    for Failure { after, what, .. } in &failures {
        let by_it = what.contains(&ends) && what.contains("deadline exceeded");
        assert!(by_it, "ended by something else: {what}");
        assert!(*after >= TIME_OUT, "ended before it: {after:?} {what}");
        assert!(*after < REQUEST, "ended with its request: {after:?} {what}");
    }
    // As the API server measures the calls themselves; the next bound below the time-out is 2.5 s, and that below
    // the request's 25 s.
    let metrics = site.server.metrics().await.unwrap();
    assert_eq!(metrics.webhook_slower_than(ENTRY, 25.0), Some(0.0));
    assert!(metrics.webhook_slower_than(ENTRY, 2.5) >= Some(failures.len() as f64));
    // From here on no call may fail, and the time-out is not what is tested.
    installed.installation.set_time_out(30).await.unwrap();
    until_learned(&site.server).await;
    replace_missing(&mut installed).await;
    // A call that dials it takes another connection as soon as one is free, so that few of them fail: the
    // kernel tells whether it is dialled.
    let dialled = connections(&hung);
    assert!(dialled > 0, "those of before");
    nothing_fails_afterwards(&mut installed).await;
    assert!(connections(&hung) <= dialled, "it is dialled still");
    let answered = timeout(Duration::from_secs(2), hung.get("/healthz")).await;
    assert!(answered.is_err(), "it did not hang any more: {answered:?}");
}

/// Creates pods over new connections until one fails as it must while a dead replica is an endpoint:
/// each dial goes to one that the API server draws by lot.
async fn fail_until(
    installed: &mut Installed<'_>,
    failures: &mut Vec<Failure>,
    is_meant: impl Fn(&Failure) -> bool,
) {
    let server = installed.server;
    for round in 0.. {
        if failures.iter().any(&is_meant) {
            return;
        }
        installed.connect_anew().await;
        let before = failed_calls(server).await;
        let creations = creations::begin(server, &format!("window-{round}"), AT_ONCE);
        creations.more(50).await;
        let (_, new) = creations.end().await;
        all_are_failed_calls(server, before, &new).await;
        failures.extend(new);
    }
}

/// As a Deployment does for one that is gone. The update that makes the new one an endpoint takes the old one
/// out, so that the API server knows of both once it calls the new one.
async fn replace_missing(installed: &mut Installed<'_>) {
    let new = installed.installation.replica().await.unwrap();
    installed.replicas.push(new);
    installed.publish().await;
    let called = async {
        while installed.replicas.last().unwrap().decisions(|_| true) == 0 {
            installed.connect_anew().await;
        }
    };
    within("a call of the new replica", called).await.unwrap();
}

/// Connections to a replica's port, whether it has accepted them or not. While it hangs it closes none.
fn connections(replica: &Replica) -> usize {
    let mut cat = replica.endpoint().namespace().command("cat");
    let output = cat.args(["/proc/net/tcp", "/proc/net/tcp6"]).output();
    let table = String::from_utf8(output.unwrap().stdout).unwrap();
    let to_it = table.lines().filter(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next(), words.nth(1));
        let port = local
            .and_then(|local| local.rsplit_once(':'))
            .map(|it| it.1);
        port == Some(PORT) && state != Some(LISTEN)
    });
    to_it.count()
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

/// Neither over the connections that there are nor over new ones.
async fn nothing_fails_afterwards(installed: &mut Installed<'_>) {
    for round in 0..3 {
        installed.connect_anew().await;
        let creations = creations::begin(installed.server, &format!("later-{round}"), AT_ONCE);
        creations.more(100).await;
        creations.end_without_a_failure().await.unwrap();
    }
}
