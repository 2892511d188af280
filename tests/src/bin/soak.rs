//! `make soak`: rollouts at random moments with random faults, on real nodes.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use drainhook_tests::{load::Mix, soak::Soak, stage::Stage};

/// Rolls a gateway under load, again and again, while things go wrong. Fails where a request was lost
/// without a reason.
#[derive(Debug, Parser)]
struct Arguments {
    /// For how long; the round that is under way then is finished
    #[arg(long, env = "MINUTES", default_value_t = 5.0)]
    minutes: f64,

    /// From which the rounds are drawn; a new one each time where it is not given
    #[arg(long, env = "SEED")]
    seed: Option<u64>,

    /// The first round of the seed that is played: to look at one that failed
    #[arg(long, env = "ROUND", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    round: u32,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments {
        minutes,
        seed,
        round,
    } = Arguments::parse();
    // Short enough to be typed again.
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("SEED={seed}: starting a cluster, then {minutes} minutes of rollouts");
    let soak = Soak {
        seed,
        first: usize::try_from(round)?,
        length: Duration::from_secs_f64(minutes * 60.0),
        rounds: usize::MAX,
        mix: Mix::standard(),
    };
    let stage = Stage::start(2).await?;
    let summary = soak.run(&stage, |line| println!("{line}")).await?;
    println!("{summary}");
    Ok(ExitCode::from(u8::from(!summary.failures.is_empty())))
}
