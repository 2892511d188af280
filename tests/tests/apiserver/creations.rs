//! Pods that are created by the thousand while something happens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use drainhook_tests::cluster::ApiServer;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
};
use tokio::task::JoinSet;

use crate::admission::{envoy_pod, has_drain, opted_in, pods};

/// The webhook's entry that is called for these pods.
pub(crate) const ENTRY: &str = "pods.drainhook.io";

/// Creates pods until it is told to stop, several at a time.
pub(crate) struct Creations {
    made: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Failure>>,
}

/// A pod that was not created, or not with its drain.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) after: Duration,
    pub(crate) what: String,
}

impl Creations {
    /// By so many workers at once; `names` begins the name of each pod.
    pub(crate) fn begin(server: &ApiServer, names: &str, at_once: u64) -> Self {
        let mut creations = Self {
            made: Arc::default(),
            failed: Arc::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for worker in 0..at_once {
            let api = pods(server, "default");
            let names = format!("{names}-{worker}");
            let (made, failed) = (creations.made.clone(), creations.failed.clone());
            let stop = creations.stop.clone();
            creations.tasks.spawn(async move {
                let mut failures = Vec::new();
                for number in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let failure = create_one(&api, &format!("{names}-{number}")).await;
                    failed.fetch_add(u64::from(failure.is_some()), Relaxed);
                    failures.extend(failure);
                    made.fetch_add(1, Relaxed);
                }
                failures
            });
        }
        creations
    }

    /// How many were tried.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// How many of them failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Lets so many more be made.
    pub(crate) async fn more(&self, number: u64) {
        let enough = self.made() + number;
        while self.made() < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many were tried, and those that failed.
    pub(crate) async fn end(self) -> (u64, Vec<Failure>) {
        self.stop.store(true, Relaxed);
        let failures = self.tasks.join_all().await.into_iter().flatten().collect();
        (self.made.load(Relaxed), failures)
    }

    /// Ends them; none may have failed.
    pub(crate) async fn end_without_a_failure(self) -> u64 {
        let (made, failures) = self.end().await;
        let count = failures.len();
        assert_eq!(count, 0, "of {made}, the first: {:#?}", failures.first());
        made
    }
}

async fn create_one(api: &Api<DynamicObject>, name: &str) -> Option<Failure> {
    let pod = envoy_pod(name, opted_in());
    let began = Instant::now();
    let what = match api.create(&PostParams::default(), &pod).await {
        Ok(pod) if has_drain(&serde_json::to_value(&pod).unwrap()) => return None,
        Ok(_) => "no drain".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(Failure {
        after: began.elapsed(),
        what,
    })
}
