//! `make bench-rollouts`: drainhook beside the other ways of ending Envoy's pods, on real nodes.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use drainhook_tests::{
    managers::{Comparison, HEAD, Manager},
    stage::Stage,
};

/// Rolls the same gateway under the same load in every way, and prints a table. Fails where drainhook
/// lost a request.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many times drainhook's gateway is rolled in a row
    #[arg(long, env = "ROLLOUTS", default_value_t = 20)]
    rollouts: usize,

    /// How many times each of the others is
    #[arg(long, env = "OTHERS", default_value_t = 2)]
    others: usize,

    /// Which are measured, in this order; all where none is named
    managers: Vec<Manager>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments {
        rollouts,
        others,
        mut managers,
    } = Arguments::parse();
    if managers.is_empty() {
        managers = Manager::value_variants().to_vec();
    }
    let comparison = Comparison {
        rollouts,
        others,
        managers,
    };
    let stage = Stage::start(2).await?;
    println!("{HEAD}");
    let outcomes = comparison
        .run(&stage, |outcome| println!("{outcome}"))
        .await?;
    let ours = outcomes
        .iter()
        .filter(|it| it.manager == Manager::Drainhook);
    let failures: Vec<_> = ours.flat_map(|outcome| &outcome.failures).collect();
    for failure in &failures {
        eprintln!("failed with drainhook: {failure}");
    }
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}
