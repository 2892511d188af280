//! Replicas that come, go, hang and die while pods are created by the thousand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use drainhook_tests::{
    cluster::{ApiServer, Network, Version},
    installation::{Installation, Replica},
};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use tokio::task::JoinSet;

use crate::admission::{envoy_pod, has_drain, opted_in, pods, until_called};

/// How long a replica needs to end after SIGTERM: its delay and the rest of its requests.
const END_BOUND: Duration = Duration::from_secs(60);

/// How late the API server learns that a replica is no endpoint any more. On a cluster that takes
/// the probe's period and the way through the endpoints' controller.
const LATE: Duration = Duration::from_secs(2);

/// Under `Fail`, so that a call that fails is a creation that fails.
const FAIL: &str = "webhook.failurePolicy=Fail";

/// Creates pods until it is told to stop, several at a time.
struct Creations {
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Failure>>,
}

#[derive(Debug)]
struct Failure {
    after: Duration,
    what: String,
}

impl Creations {
    /// By so many workers at once; `names` begins the name of each pod.
    fn begin(server: &ApiServer, names: &str, at_once: u64) -> Self {
        let (made, stop) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let mut tasks = JoinSet::new();
        for worker in 0..at_once {
            let api = pods(server, "default");
            tasks.spawn(create_many(
                api,
                format!("{names}-{worker}"),
                made.clone(),
                stop.clone(),
            ));
        }
        Self { made, stop, tasks }
    }

    fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// Lets so many more be made.
    async fn more(&self, number: u64) {
        let enough = self.made() + number;
        while self.made() < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self) -> (u64, Vec<Failure>) {
        self.stop.store(true, Relaxed);
        let failures = self.tasks.join_all().await.into_iter().flatten().collect();
        (self.made.load(Relaxed), failures)
    }
}

async fn create_many(
    api: Api<DynamicObject>,
    names: String,
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    for number in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let pod = envoy_pod(&format!("{names}-{number}"), opted_in());
        let began = Instant::now();
        match api.create(&PostParams::default(), &pod).await {
            Ok(pod) if has_drain(&serde_json::to_value(&pod).unwrap()) => {}
            Ok(_) => failures.push(Failure {
                after: began.elapsed(),
                what: "no drain".to_owned(),
            }),
            Err(error) => {
                failures.push(Failure {
                    after: began.elapsed(),
                    what: error.to_string(),
                });
            }
        }
        made.fetch_add(1, Relaxed);
    }
    failures
}

async fn replace(installation: &mut Installation<'_>, replicas: &mut Vec<Replica>) {
    // As a Deployment with maxUnavailable 0 does: first the new one, then the old one goes.
    let new = installation.replica().await.unwrap();
    let mut old = replicas.remove(0);
    replicas.push(new);
    installation
        .publish(
            &[&old]
                .into_iter()
                .chain(replicas.iter())
                .collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    old.process.terminate().unwrap();
    tokio::time::sleep(LATE).await;
    installation
        .publish(&replicas.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    let status = old.process.wait(END_BOUND).await.unwrap();
    assert!(status.success(), "{}", old.process.log_tail());
}

#[tokio::test]
async fn replicas_are_replaced_one_after_the_other_and_no_creation_fails() {
    if !Network::available("replacing replicas").unwrap() {
        return;
    }
    for version in [Version::Newest, Version::Oldest] {
        let network = Network::create().unwrap();
        let server = ApiServer::options()
            .version(version)
            .network(&network)
            .start()
            .await
            .unwrap();
        let mut installation = Installation::apply(&server, &network, &[FAIL])
            .await
            .unwrap();
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(installation.replica().await.unwrap());
        }
        installation
            .publish(&replicas.iter().collect::<Vec<_>>())
            .await
            .unwrap();
        until_called(&server).await;
        let creations = Creations::begin(&server, "pod", 8);
        for _ in 0..6 {
            creations.more(200).await;
            replace(&mut installation, &mut replicas).await;
        }
        creations.more(200).await;
        let (made, failures) = creations.end().await;
        assert!(
            failures.is_empty(),
            "{version:?}: {} of {made}: {failures:#?}",
            failures.len()
        );
        assert!(made > 1400, "{made}");
    }
}

#[tokio::test]
async fn a_killed_replica_costs_its_open_calls_at_most_and_nothing_afterwards() {
    if !Network::available("killed replicas").unwrap() {
        return;
    }
    let at_once = 8;
    let network = Network::create().unwrap();
    let server = ApiServer::options()
        .network(&network)
        .start()
        .await
        .unwrap();
    let mut installation = Installation::apply(&server, &network, &[FAIL])
        .await
        .unwrap();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(installation.replica().await.unwrap());
    }
    installation
        .publish(&replicas.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    until_called(&server).await;

    let creations = Creations::begin(&server, "pod", at_once);
    creations.more(300).await;
    let mut killed = replicas.remove(0);
    // In a cluster the dead address answers nobody, and the Service forgets it.
    installation
        .publish(&replicas.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    killed.process.kill().unwrap();
    creations.more(300).await;
    let (_, failures) = creations.end().await;
    assert!(
        failures.len() as u64 <= at_once,
        "one open call per connection: {failures:#?}"
    );
    for failure in &failures {
        assert!(
            failure.what.contains("failed calling webhook"),
            "{failure:?}"
        );
    }

    let creations = Creations::begin(&server, "later", at_once);
    creations.more(300).await;
    let (made, failures) = creations.end().await;
    assert!(
        failures.is_empty(),
        "none afterwards, of {made}: {failures:#?}"
    );
}

#[tokio::test]
async fn a_replica_that_hangs_costs_its_open_calls_at_most_each_within_the_time_out() {
    if !Network::available("hanging replicas").unwrap() {
        return;
    }
    let at_once = 8;
    let network = Network::create().unwrap();
    let server = ApiServer::options()
        .network(&network)
        .start()
        .await
        .unwrap();
    let values = [FAIL, "webhook.timeoutSeconds=3"];
    let mut installation = Installation::apply(&server, &network, &values)
        .await
        .unwrap();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(installation.replica().await.unwrap());
    }
    installation
        .publish(&replicas.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    until_called(&server).await;

    let creations = Creations::begin(&server, "pod", at_once);
    creations.more(300).await;
    let mut hung = replicas.remove(0);
    hung.process.pause().unwrap();
    installation
        .publish(&replicas.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    creations.more(600).await;
    let (made, failures) = creations.end().await;
    let open = hung_connections(&failures);
    assert!(open <= 2 * at_once, "of {made}: {failures:#?}");
    for failure in &failures {
        // The request's own deadline is 34 s; the webhook's 3 s ends it long before.
        assert!(failure.after < Duration::from_secs(20), "{failure:?}");
    }
    hung.process.kill().unwrap();

    let creations = Creations::begin(&server, "later", at_once);
    creations.more(300).await;
    let (made, failures) = creations.end().await;
    assert!(
        failures.is_empty(),
        "none afterwards, of {made}: {failures:#?}"
    );
}

fn hung_connections(failures: &[Failure]) -> u64 {
    failures
        .iter()
        .filter(|failure| failure.what.contains("failed calling webhook"))
        .count() as u64
}
