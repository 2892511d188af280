//! The load benchmark of the webhook: two servers, one client.

mod client;
mod creations;
mod report;
mod server;

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use self::{
    client::{Client, Samples},
    server::Server,
};
pub use self::{
    creations::{Created, Creations},
    report::{missed, report},
};

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// Reviews for the latency, on one connection.
    pub latency: u64,
    /// Reviews for the throughput.
    pub throughput: u64,
    /// Connections for the throughput.
    pub connections: usize,
    /// Reviews after which memory is looked at.
    pub memory: u64,
    /// How many times both are measured, in turn.
    pub rounds: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Figures {
    /// drainhook.
    pub ours: Contestant,
    /// The Go webhook.
    pub theirs: Contestant,
    /// Bytes of the review.
    pub review: usize,
    /// Resident memory of drainhook over many reviews: after how many, and kB.
    pub growth: Vec<(u64, u64)>,
    /// kB of drainhook under a flood of the largest bodies: peak.
    pub flood: u64,
}

/// One server's figures: the median of the rounds.
#[derive(Debug, Default)]
pub struct Contestant {
    /// Of one request after the other on one connection.
    pub median: Duration,
    /// The same, of 99 in 100.
    pub p99: Duration,
    /// Reviews a second on several connections.
    pub throughput: f64,
    /// kB resident, at the end of that.
    pub resident: u64,
}

/// What both servers are asked about: a recorded review of a pod with one Envoy.
const REVIEW: &str = include_str!("../../../webhook/tests/reviews/deployment-pod.json");

/// Requests before anything is measured: caches, connections, the Go runtime's heap.
const WARM_UP: u64 = 2_000;

/// How often memory is looked at on the way to [`Benchmark::memory`].
const LOOKS: u64 = 10;

impl Benchmark {
    /// Runs everything.
    ///
    /// # Errors
    /// When a server cannot be built or started, or an answer is not a patch.
    pub async fn run(self) -> Result<Figures> {
        // As the API server sends it: without the white space of the file.
        let review = serde_json::from_str::<Value>(REVIEW)?.to_string();
        let ours = Server::drainhook().await?;
        let theirs = Server::go().await?;
        let mut rounds = [Vec::new(), Vec::new()];
        for round in 0..self.rounds {
            eprintln!("round {} of {}", round + 1, self.rounds);
            for (server, rounds) in [&ours, &theirs].into_iter().zip(&mut rounds) {
                rounds.push(self.round(server, &review).await?);
            }
        }
        drop(theirs);
        let [ours_of, theirs_of] = rounds.map(middle);
        eprintln!("memory over {} reviews", self.memory);
        let growth = self.growth(&ours, &review).await?;
        eprintln!("a flood of the largest bodies");
        let flood = flood(&ours, &review).await?;
        Ok(Figures {
            ours: ours_of,
            theirs: theirs_of,
            review: review.len(),
            growth,
            flood,
        })
    }

    async fn round(&self, server: &Server, review: &str) -> Result<Contestant> {
        Client::new(server, review)
            .ask(WARM_UP, self.connections)
            .await?;
        let one = Client::new(server, review).ask(self.latency, 1).await?;
        let many = Client::new(server, review)
            .ask(self.throughput, self.connections)
            .await?;
        let latency = Samples::sorted(one.latencies);
        Ok(Contestant {
            median: latency.at(0.5),
            p99: latency.at(0.99),
            throughput: self.throughput as f64 / many.took.as_secs_f64(),
            resident: server.resident()?,
        })
    }

    async fn growth(&self, server: &Server, review: &str) -> Result<Vec<(u64, u64)>> {
        let mut growth = vec![(0, server.resident()?)];
        let step = (self.memory / LOOKS).max(1);
        for look in 1..=LOOKS {
            Client::new(server, review)
                .ask(step, self.connections)
                .await?;
            growth.push((look * step, server.resident()?));
        }
        Ok(growth)
    }
}

/// From many peers, who do not stop when they are refused.
async fn flood(server: &Server, review: &str) -> Result<u64> {
    let padded = format!("{review}{}", " ".repeat(7 * 1024 * 1024 - review.len()));
    let mut peers = tokio::task::JoinSet::new();
    for number in 0..16 {
        let client = Client::new(server, &padded).from([127, 0, 2, number]);
        peers.spawn(async move { client.hammer(20, 4).await });
    }
    while let Some(done) = peers.join_next().await {
        done?;
    }
    server.peak()
}

/// Each figure's own median: a disturbance of one round is not the result.
fn middle(rounds: Vec<Contestant>) -> Contestant {
    fn of<T: PartialOrd + Copy>(mut values: Vec<T>) -> Option<T> {
        values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
        values.get(values.len() / 2).copied()
    }
    Contestant {
        median: of(rounds.iter().map(|round| round.median).collect()).unwrap_or_default(),
        p99: of(rounds.iter().map(|round| round.p99).collect()).unwrap_or_default(),
        throughput: of(rounds.iter().map(|round| round.throughput).collect()).unwrap_or_default(),
        resident: of(rounds.iter().map(|round| round.resident).collect()).unwrap_or_default(),
    }
}
