//! `make bench`: drainhook and a Go webhook of the usual kind, one after the other in the same run,
//! asked the same by the same client over TLS connections that are kept.

use anyhow::{Result, ensure};
use clap::Parser;
use drainhook_tests::bench::{Benchmark, missed, report};

/// What is measured, and how long.
#[derive(Debug, Parser)]
struct Args {
    /// Reviews for the latency, on one connection
    #[arg(long, default_value_t = 20_000)]
    latency: u64,

    /// Reviews for the throughput
    #[arg(long, default_value_t = 100_000)]
    throughput: u64,

    /// Connections for the throughput
    #[arg(long, default_value_t = 8)]
    connections: usize,

    /// Reviews after which memory is looked at
    #[arg(long, default_value_t = 1_000_000)]
    memory: u64,

    /// How many times latency and throughput of both are measured, in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let benchmark = Benchmark {
        latency: args.latency,
        throughput: args.throughput,
        connections: args.connections,
        memory: args.memory,
        rounds: args.rounds,
    };
    let figures = benchmark.run().await?;
    print!("{}", report(&figures));
    let missed = missed(&figures);
    ensure!(missed.is_empty(), "{}", missed.join("\n"));
    Ok(())
}
