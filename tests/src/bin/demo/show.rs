//! The run itself: prepare, roll three ways at once, report.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use drainhook_tests::envoy::{Binary, Wanted};
use drainhook_tests::load::{Mix, Target};
use drainhook_tests::pod::Programs;
use drainhook_tests::product;
use drainhook_tests::rollout::Traffic;
use drainhook_tests::trial::{Outcome, Plan, Prepared, Strategy, Trial};
use futures_util::future::{join_all, try_join_all};

use crate::arguments::Arguments;
use crate::chart::charts;
use crate::progress::Progress;
use crate::{svg, table, timeline};

/// Two pods, as in most installations.
const REPLICAS: usize = 2;
/// The load before the first pod is told to end and after the last one is gone.
const CALM: Duration = Duration::from_secs(5);
/// Long enough that idle pooled connections are used again after their pods are gone.
const LEAST: Duration = Duration::from_secs(45);

/// Runs the demo; true where drainhook lost nothing. That a drain ended more than half a second off
/// is shown, and may as well be the fault of a busy machine.
///
/// # Errors
/// Where it could not be run.
pub(crate) async fn run(arguments: &Arguments) -> Result<bool> {
    let text = fs::read_to_string(&arguments.manifest)
        .with_context(|| format!("read the manifest {}", arguments.manifest.display()))?;
    let programs = Programs {
        envoy: Binary::find(Wanted::Usual)?,
        shutdown_manager: product::shutdown_manager()?.to_owned(),
    };
    println!(
        "{} with Envoy {}, {} pods each, about 245 requests/s each; \
         the balancer learns {} late that a pod ends{}\n",
        arguments.manifest.display(),
        programs.envoy.version()?,
        REPLICAS,
        spaced(arguments.learn),
        if arguments.probe > 0 {
            "; health checks every second"
        } else {
            ""
        },
    );
    let prepared = [
        Prepared::as_it_is(&text, &programs)?,
        Prepared::sleep(&text, &programs)?,
        Prepared::drainhook(&text, &programs)?,
    ];
    let began = Instant::now();
    let outcomes = side_by_side(prepared, &plan(arguments), began).await?;

    println!("\n{}", table::table(&outcomes));
    let (charts, end) = charts(&outcomes, arguments.learn);
    println!("{}", timeline::timeline(&charts, end));
    println!("{}", table::drains(&outcomes));
    write(
        arguments,
        &outcomes,
        &svg::svg(&charts, end, &subtitle(arguments)),
    )?;
    let lost: usize = outcomes
        .iter()
        .filter(|outcome| outcome.strategy == Strategy::Drainhook)
        .map(|outcome| outcome.failed())
        .sum();
    if lost > 0 {
        println!("drainhook lost {lost} requests, which it never should: please report it");
    }
    Ok(lost == 0)
}

fn plan(arguments: &Arguments) -> Plan {
    Plan {
        replicas: REPLICAS,
        rounds: usize::from(arguments.rounds),
        learns_after: arguments.learn,
        health_checks: arguments.probe > 0,
        mix: Mix {
            endless_websocket: 1,
            ..Mix::standard()
        },
        traffic: Traffic {
            port: arguments.port,
            target: Target {
                host: arguments.host.clone(),
                path: arguments.path.clone(),
            },
        },
        calm: CALM,
        least: LEAST,
    }
}

async fn side_by_side(
    prepared: [Prepared; 3],
    plan: &Plan,
    began: Instant,
) -> Result<Vec<Outcome>> {
    let progress = Progress::new(began);
    let trials = prepared.map(|prepared| {
        let observer = progress.observer(prepared.strategy);
        Trial::prepare(prepared, plan.clone(), observer)
    });
    let trials = try_join_all(trials).await?;
    let mut running: Vec<_> = trials.into_iter().map(Trial::begin).collect();
    let ticker = progress.watch(running.iter().map(|trial| trial.recorder()).collect());
    // The load of all of them goes on until the last is through: the counts can be compared.
    try_join_all(running.iter_mut().map(|trial| trial.roll())).await?;
    let outcomes = join_all(running.into_iter().map(|trial| trial.finish())).await;
    ticker.abort();
    progress.clear();
    Ok(outcomes)
}

/// `2s` -> `2 s`
fn spaced(length: Duration) -> String {
    format!("{} s", length.as_secs_f64())
}

fn subtitle(arguments: &Arguments) -> String {
    format!(
        "About 245 requests per second each, clients that never retry; the balancer learns {} late \
         that a pod ends{}",
        spaced(arguments.learn),
        if arguments.probe > 0 {
            "; health checks every second"
        } else {
            ""
        },
    )
}

fn write(arguments: &Arguments, outcomes: &[Outcome], drawing: &str) -> Result<()> {
    let folder = &arguments.output;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let picture = folder.join("timeline.svg");
    fs::write(&picture, drawing).with_context(|| format!("write {}", picture.display()))?;
    let mut failed = String::new();
    for outcome in outcomes {
        for line in outcome.record.describe_failures() {
            failed.push_str(&format!("{}: {line}\n", outcome.strategy));
        }
    }
    let list = folder.join("failed-requests.txt");
    fs::write(&list, failed).with_context(|| format!("write {}", list.display()))?;
    println!(
        "{} shows this run, {} has every failed request",
        picture.display(),
        list.display()
    );
    Ok(())
}
