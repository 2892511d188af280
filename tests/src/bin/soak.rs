//! `make soak`: rollouts at random moments with random faults, on real nodes.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use drainhook_tests::{
    load::Mix,
    soak::{Rounds, Soak, Summary},
    stage::Stage,
};

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

    /// Prints so many rounds and plays none of them
    #[arg(long, env = "PLAN")]
    plan: Option<usize>,

    /// The pods ask for no drain: shows that the soak sees what is lost
    #[arg(long)]
    without_drain: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments {
        minutes,
        seed,
        round,
        plan,
        without_drain,
    } = Arguments::parse();
    // Short enough to be typed again.
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let first = usize::try_from(round)?;
    if let Some(rounds) = plan {
        println!("SEED={seed}");
        print_plan(seed, first, rounds);
        return Ok(ExitCode::SUCCESS);
    }
    let length = minutes.as_secs_f64() / 60.0;
    println!("SEED={seed}: starting a cluster, then {length} minutes of rollouts");
    let soak = Soak {
        seed,
        first,
        length: minutes,
        rounds: usize::MAX,
        mix: Mix::standard(),
        drained: !without_drain,
    };
    let stage = Stage::start(2).await?;
    let summary = soak.run(&stage, |line| println!("{line}")).await?;
    println!("{summary}");
    Ok(status(&summary))
}

/// The rounds of a seed, a line each, from one of them on.
fn print_plan(seed: u64, first: usize, rounds: usize) {
    let numbered = (1..).zip(Rounds::of(seed)).skip(first.saturating_sub(1));
    for (number, round) in numbered.take(rounds) {
        let pause = round.pause.as_secs_f64();
        println!("{number:4}  {round}, {pause:.1} s after the last");
    }
}

/// Whether requests failed that must not, or drains were not right.
fn status(summary: &Summary) -> ExitCode {
    match summary.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
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
    fn the_exit_status_tells_whether_a_request_failed() {
        let mut summary = Summary {
            seed: 7,
            lines: Vec::new(),
            requests: 1,
            cut: 1,
            failures: Vec::new(),
        };
        assert_eq!(status(&summary), ExitCode::SUCCESS);
        summary.failures.push("a request".to_owned());
        assert_eq!(status(&summary), ExitCode::FAILURE);
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
