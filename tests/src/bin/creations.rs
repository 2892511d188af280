//! `make bench`, second part: pods created at a steady rate through a real API server.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use drainhook_tests::bench::Creations;

/// How much is created, and how fast.
#[derive(Debug, Parser)]
struct Args {
    /// Pods
    #[arg(long, default_value_t = 10_000)]
    pods: u64,

    /// In how long, at a steady rate
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    within: Duration,

    /// Replicas of the webhook
    #[arg(long, default_value_t = 2)]
    replicas: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Args {
        pods,
        within,
        replicas,
    } = Args::parse();
    ensure!(
        pods > 0 && replicas > 0,
        "nothing to create, or nobody to ask"
    );
    let creations = Creations {
        pods,
        within,
        replicas,
    };
    let created = creations.run().await?;
    print!("{}", created.report());
    let missed = created.missed();
    ensure!(missed.is_empty(), "{}", missed.join("\n"));
    Ok(())
}
