//! Creations at a steady rate through a real API server, which calls the webhook as a Service.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, core::ApiResource};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::client::Samples;
use crate::{
    cluster::{ApiServer, Metrics, Network},
    creations::Order,
    installation::Installation,
    wait::until,
};

/// How much is created, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Creations {
    /// Pods, each of which gets its drain.
    pub pods: u64,
    /// In how long, at a steady rate.
    pub within: Duration,
    /// Replicas of the webhook.
    pub replicas: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Created {
    pods: u64,
    took: Duration,
    /// Why creations failed, or that a pod came without its drain.
    failures: Vec<String>,
    /// Whole creations, from when each was due.
    latencies: Samples,
    /// Seconds, and how many calls of the webhook took longer, as the API server counts.
    slower: Vec<(f64, f64)>,
}

/// The entry that is called for pods with an annotation.
const ENTRY: &str = "pods.drainhook.io";

/// Creations under way at most: more would be waiting for one another, not for the webhook.
const AT_ONCE: usize = 32;

/// Seconds: the buckets of the API server's histogram that matter here. The registered time-out is 5 s.
const BOUNDS: [f64; 4] = [0.005, 0.025, 0.1, 0.5];

/// The part of the creations that may be slower than the last of [`BOUNDS`], a tenth of the time-out.
const SLOW: f64 = 0.001;

impl Creations {
    /// Starts an API server and the webhook, and creates.
    ///
    /// # Errors
    /// Without root, or when one of them cannot be started.
    pub async fn run(self) -> Result<Created> {
        let network = Network::create()?;
        let server = ApiServer::options().network(&network).start().await?;
        let values = ["webhook.failurePolicy=Fail"];
        let mut installation = Installation::apply(&server, &network, &values).await?;
        let mut replicas = Vec::new();
        for _ in 0..self.replicas {
            replicas.push(installation.replica().await?);
        }
        installation
            .publish(&replicas.iter().collect::<Vec<_>>())
            .await?;
        let order = order(&server)?;
        until_drained(&order).await?;
        let before = server.metrics().await?;
        let began = Instant::now();
        let (latencies, failures) = self.create(&order, began).await?;
        let took = began.elapsed();
        let after = server.metrics().await?;
        Ok(Created {
            pods: self.pods,
            took,
            failures,
            latencies: Samples::sorted(latencies),
            slower: BOUNDS
                .iter()
                .map(|bound| Ok((*bound, slower(&after, *bound)? - slower(&before, *bound)?)))
                .collect::<Result<_>>()?,
        })
    }

    async fn create(self, order: &Order, began: Instant) -> Result<(Vec<Duration>, Vec<String>)> {
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (order, next) = (order.clone(), next.clone());
            tasks.spawn(async move {
                let (mut latencies, mut failures) = (Vec::new(), Vec::new());
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= self.pods {
                        return (latencies, failures);
                    }
                    let due = began + self.within.mul_f64(number as f64 / self.pods as f64);
                    sleep_until(due).await;
                    failures.extend(order.create(&format!("pod-{number}")).await.err());
                    latencies.push(due.elapsed());
                }
            });
        }
        let (mut latencies, mut failures) = (Vec::new(), Vec::new());
        while let Some(done) = tasks.join_next().await {
            let (some, failed) = done?;
            latencies.extend(some);
            failures.extend(failed.into_iter().map(|failure| failure.what));
        }
        Ok((latencies, failures))
    }
}

impl Created {
    /// What should not be, each in a line; nothing where all is well.
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let pods = self.pods;
        let failed = self.failures.len();
        if failed > 0 {
            missed.push(format!("{failed} of {pods} creations failed"));
        }
        let slowest = self.slower.last();
        if let Some((bound, slower)) = slowest.filter(|(_, slower)| *slower > SLOW * pods as f64) {
            missed.push(format!(
                "{slower} calls of the webhook took longer than {bound} s"
            ));
        }
        missed
    }

    /// The table, as docs/benchmarks.md has it.
    pub fn report(&self) -> String {
        let mut out = String::new();
        let mut line = |what: &str, figure: String| {
            // Writing to a String does not fail.
            let _ = writeln!(out, "| {what} | {figure} |");
        };
        line(
            "creations",
            format!("{} in {:.1} s", self.pods, self.took.as_secs_f64()),
        );
        line(
            "failed, or without their drain",
            self.failures.len().to_string(),
        );
        for (bound, slower) in &self.slower {
            let what = format!("calls of the webhook over {} ms", bound * 1000.0);
            line(&what, format!("{slower}"));
        }
        for (what, part) in [("median", 0.5), ("99.9 %", 0.999)] {
            let latency = self.latencies.at(part).as_secs_f64() * 1000.0;
            line(
                &format!("a whole creation, {what}"),
                format!("{latency:.1} ms"),
            );
        }
        for failure in self.failures.iter().take(5) {
            let _ = writeln!(out, "\n{failure}");
        }
        out
    }
}

/// What is created, in the default namespace.
fn order(server: &ApiServer) -> Result<Order> {
    let resource = ApiResource::erase::<Pod>(&());
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "annotations": { "drainhook.io/inject": "true" } },
        "spec": { "containers": [{ "name": "envoy", "image": "envoyproxy/envoy:v1.36.2" }] },
    });
    Ok(Order {
        pods: Api::default_namespaced_with(server.client(), &resource),
        pod: serde_json::from_value(pod)?,
        dry_run: false,
        pause: Duration::ZERO,
    })
}

/// The API server learns of registrations and endpoints a little later.
async fn until_drained(order: &Order) -> Result<()> {
    let mut number = 0;
    until("a pod with its drain", async || {
        number += 1;
        order.create(&format!("first-{number}")).await.ok()
    })
    .await
}

fn slower(metrics: &Metrics, bound: f64) -> Result<f64> {
    let slower = metrics.webhook_slower_than(ENTRY, bound);
    slower.with_context(|| format!("no bucket of {bound} s"))
}
