//! `make soak`: rollouts at random moments with random faults, on real nodes.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use drainhook_tests::{load::Mix, soak::Soak, stage::Stage};

/// The longest soak, in minutes: a week.
const LONGEST: f64 = 7.0 * 24.0 * 60.0;

/// Rolls a gateway under load, again and again, while things go wrong. Fails where a request was lost
/// without a reason, or a drain was not right.
#[derive(Debug, Parser)]
struct Arguments {
    /// For how long; the round that is under way then is finished
    #[arg(long, env = "MINUTES", default_value = "5", value_parser = minutes)]
    minutes: Duration,

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
    let length = minutes.as_secs_f64() / 60.0;
    println!("SEED={seed}: starting a cluster, then {length} minutes of rollouts");
    let soak = Soak {
        seed,
        first: usize::try_from(round)?,
        length: minutes,
        rounds: usize::MAX,
        mix: Mix::standard(),
    };
    let stage = Stage::start(2).await?;
    let summary = soak.run(&stage, |line| println!("{line}")).await?;
    println!("{summary}");
    Ok(ExitCode::from(u8::from(!summary.failures.is_empty())))
}

/// Reads how many minutes a soak takes: a part of one, or many.
fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text
        .trim()
        .parse()
        .map_err(|_| format!("{text:?} is not a number of minutes, such as 5 or 0.5"))?;
    if minutes > 0.0 && minutes <= LONGEST {
        Ok(Duration::from_secs_f64(minutes * 60.0))
    } else {
        Err(format!(
            "a soak takes more than 0 and at most {LONGEST} minutes, such as MINUTES=5"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_be_parts_of_one() {
        assert_eq!(minutes("5"), Ok(Duration::from_secs(300)));
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
    }

    #[test]
    fn a_soak_without_time_is_refused() {
        for text in ["0", "-1", "NaN", "inf", "1e9"] {
            let refused = minutes(text).unwrap_err();
            assert!(refused.contains("more than 0"), "{text}: {refused}");
        }
        assert!(minutes("five").unwrap_err().contains("not a number"));
    }
}
