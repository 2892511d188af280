//! Pods that are created, several at a time, while something happens: each of them must get its drain.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
};
use tokio::{task::JoinSet, time::sleep};

use crate::gateway::has_drain;

/// Between two looks at how many were made.
const POLL: Duration = Duration::from_millis(20);

/// What is created.
#[derive(Clone)]
pub struct Order {
    /// Where.
    pub pods: Api<DynamicObject>,
    /// A pod that asks for its drain. Each gets another name.
    pub pod: DynamicObject,
    /// Whether it is only asked what would come of it: the API server asks the webhook all the same, and no
    /// node has to run anything.
    pub dry_run: bool,
    /// What each worker waits between two of them.
    pub pause: Duration,
}

/// A pod that was not created, or not with its drain.
#[derive(Debug)]
pub struct Failure {
    /// Whether it was created all the same.
    pub created: bool,
    /// How long it took.
    pub after: Duration,
    /// Why.
    pub what: String,
}

impl Order {
    /// Creates one.
    ///
    /// # Errors
    /// The failure.
    pub async fn create(&self, name: &str) -> Result<(), Failure> {
        let mut pod = self.pod.clone();
        pod.metadata.name = Some(name.to_owned());
        let parameters = PostParams {
            dry_run: self.dry_run,
            ..PostParams::default()
        };
        let began = Instant::now();
        let (created, what) = match self.pods.create(&parameters, &pod).await {
            Ok(created) => match created.try_parse::<Pod>() {
                Ok(pod) if has_drain(&pod) => return Ok(()),
                Ok(_) => (true, "it came without its drain".to_owned()),
                Err(error) => (false, format!("what was created is no pod: {error}")),
            },
            Err(error) => (false, error.to_string()),
        };
        Err(Failure {
            created,
            after: began.elapsed(),
            what,
        })
    }
}

/// Creations that go on until they are told to stop.
pub struct Creations {
    /// By each worker.
    made: Vec<Arc<AtomicU64>>,
    failed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    workers: JoinSet<Vec<Failure>>,
}

impl Creations {
    /// By so many workers at once; `names` begins the name of each pod.
    pub fn begin(order: &Order, names: &str, at_once: u64) -> Self {
        let mut creations = Self {
            made: Vec::new(),
            failed: Arc::default(),
            stop: Arc::default(),
            workers: JoinSet::new(),
        };
        for worker in 0..at_once {
            let (order, names) = (order.clone(), format!("{names}-{worker}"));
            let (made, failed) = (Arc::new(AtomicU64::new(0)), creations.failed.clone());
            creations.made.push(made.clone());
            let stop = creations.stop.clone();
            creations.workers.spawn(async move {
                let mut failures = Vec::new();
                for number in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let failure = order.create(&format!("{names}-{number}")).await.err();
                    failed.fetch_add(u64::from(failure.is_some()), Relaxed);
                    failures.extend(failure);
                    made.fetch_add(1, Relaxed);
                    sleep(order.pause).await;
                }
                failures
            });
        }
        creations
    }

    /// How many were tried.
    pub fn made(&self) -> u64 {
        self.by_worker().iter().sum()
    }

    /// How many of them failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Lets so many more be made.
    pub async fn more(&self, number: u64) {
        let enough = self.made() + number;
        while self.made() < enough {
            sleep(POLL).await;
        }
    }

    /// Waits for the end of those that are under way now.
    pub async fn settle(&self) {
        let before = self.by_worker();
        let still = || {
            self.by_worker()
                .iter()
                .zip(&before)
                .any(|(now, then)| now == then)
        };
        while still() {
            sleep(POLL).await;
        }
    }

    /// How many were tried, and those that failed.
    pub async fn end(mut self) -> (u64, Vec<Failure>) {
        self.stop.store(true, Relaxed);
        let failures = mem::take(&mut self.workers).join_all().await;
        (self.made(), failures.into_iter().flatten().collect())
    }

    /// Ends them, and gives how many there were.
    ///
    /// # Errors
    /// When one of them failed: how many did, and the first.
    pub async fn end_without_a_failure(self) -> Result<u64> {
        let (made, failures) = self.end().await;
        let count = failures.len();
        ensure!(
            count == 0,
            "{count} of {made} failed, the first: {:?}",
            failures.first()
        );
        Ok(made)
    }

    fn by_worker(&self) -> Vec<u64> {
        self.made.iter().map(|made| made.load(Relaxed)).collect()
    }
}
