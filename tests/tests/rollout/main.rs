//! Rolling updates under mixed load, on the real Envoy with the real sidecar, patched by the real
//! command line: what `make demo` shows, shorter, and what it is made of.

mod kubelet;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use drainhook_tests::envoy::{Binary, Wanted};
use drainhook_tests::load::{Failure, Kind, Mix, Target};
use drainhook_tests::pod::Programs;
use drainhook_tests::product;
use drainhook_tests::rollout::Traffic;
use drainhook_tests::trial::{Outcome, Plan, Prepared, Trial};

const GATEWAY: &str = include_str!("../../../examples/gateway.yaml");
const BESIDE_AN_APP: &str = include_str!("beside-an-app.yaml");

/// The example, with as little time between two pods as makes an order, and without Envoy's own bound of 15 s for
/// an answer: a stream of 8 s takes longer where the machine is held up, and Envoy would cut it.
fn gateway() -> String {
    let unbounded = "route: { cluster: app, timeout: 0s }";
    GATEWAY
        .replace("minReadySeconds: 5", "minReadySeconds: 1")
        .replace("route: { cluster: app }", unbounded)
}

fn programs() -> Result<Programs> {
    Ok(Programs {
        envoy: Binary::find(Wanted::Usual)?,
        shutdown_manager: product::shutdown_manager()?.to_owned(),
    })
}

/// One rolling update of two pods; the balancer learns 1 s late.
fn plan() -> Plan {
    Plan {
        replicas: 2,
        rounds: 1,
        learns_after: Duration::from_secs(1),
        health_checks: false,
        mix: Mix::standard(),
        traffic: Traffic {
            port: None,
            target: Target::default(),
        },
        calm: Duration::from_secs(1),
        least: Duration::ZERO,
    }
}

async fn run(prepared: Prepared, plan: Plan) -> Result<Outcome> {
    let trial = Trial::prepare(prepared, plan, Arc::new(|_| {})).await?;
    let mut running = trial.begin();
    running.roll().await?;
    let outcome = running.finish().await;
    anyhow::ensure!(
        outcome.notes.is_empty(),
        "not the load that was meant: {:?}",
        outcome.notes
    );
    Ok(outcome)
}

fn assert_nothing_failed(outcome: &Outcome) {
    assert_eq!(outcome.record.describe_failures(), Vec::<String>::new());
    for kind in Kind::CLIENTS {
        let answered = outcome
            .record
            .client_requests()
            .any(|request| request.kind == kind);
        assert!(answered, "no {kind} request was sent");
    }
}

/// Never before it was due, and not long after. `make demo` looks closer.
fn assert_ended_when_due(outcome: &Outcome) {
    assert_eq!(outcome.verdicts.len(), 2, "two pods were drained");
    for verdict in &outcome.verdicts {
        assert_eq!(verdict.fault(), None, "{verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_drainhook_no_request_fails_and_idle_connections_hold_nothing_up() {
    let prepared = Prepared::drainhook(&gateway(), &programs().unwrap()).unwrap();
    let outcome = run(prepared, plan()).await.unwrap();
    assert_nothing_failed(&outcome);
    assert_ended_when_due(&outcome);

    let last_words: Vec<_> = outcome
        .lives
        .iter()
        .filter_map(|life| life.stopped.as_ref())
        .flat_map(|stopped| &stopped.containers)
        .filter_map(|container| container.message.as_deref())
        .collect();
    assert_eq!(
        last_words.len(),
        2,
        "each sidecar left its last words: {last_words:?}"
    );
    // Pooled connections lie idle for 20 s and more. That one of them at least was on one of the
    // two pods is as good as certain.
    assert!(
        last_words
            .iter()
            .any(|message| message.contains("only idle connections are open")),
        "{last_words:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_load_sees_what_a_rollout_without_a_hook_loses() {
    let prepared = Prepared::as_it_is(&gateway(), &programs().unwrap()).unwrap();
    // Longer than a machine is held up, so that somebody comes to a pod that is gone.
    let plan = Plan {
        learns_after: Duration::from_secs(5),
        ..plan()
    };
    let outcome = run(prepared, plan).await.unwrap();
    let some = |wanted: fn(&Failure) -> bool| {
        outcome
            .record
            .failures()
            .any(|(_, failure)| wanted(failure))
    };
    assert!(
        some(|failure| *failure == Failure::Refused),
        "new connections to a pod that is gone"
    );
    assert!(
        some(|failure| matches!(failure, Failure::Unanswered(_))),
        "requests in flight"
    );
    assert!(
        some(|failure| matches!(failure, Failure::Truncated(_))),
        "streams"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_that_is_long_enough_for_the_balancer_is_not_for_slow_requests() {
    let prepared = Prepared::sleep(&gateway(), &programs().unwrap()).unwrap();
    let outcome = run(prepared, plan()).await.unwrap();
    let failures: Vec<_> = outcome
        .record
        .failures()
        .map(|(_, failure)| failure)
        .collect();
    assert!(!failures.contains(&&Failure::Refused), "{failures:?}");
    assert!(
        failures
            .iter()
            .any(|failure| matches!(failure, Failure::Truncated(_))),
        "{failures:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_learns_after_the_floor_and_checks_health_costs_no_request() {
    // Until the balancer learns, connections come; where those who open them are held up, none does for a while.
    let manifest = gateway().replace(
        "drainhook.io/upgrade-timeout: 8s",
        "drainhook.io/upgrade-timeout: 8s\n        drainhook.io/min-drain: 1s\n        \
         drainhook.io/quiet: 6s\n        drainhook.io/arrivals-timeout: 15s",
    );
    let prepared = Prepared::drainhook(&manifest, &programs().unwrap()).unwrap();
    let plan = Plan {
        learns_after: Duration::from_secs(8),
        health_checks: true,
        ..plan()
    };
    let outcome = run(prepared, plan).await.unwrap();
    assert_nothing_failed(&outcome);
    assert_ended_when_due(&outcome);
    let checks = outcome
        .record
        .arrivals
        .iter()
        .filter(|arrival| arrival.kind == Kind::HealthCheck);
    assert!(checks.count() > 20, "health checks went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_beside_envoy_outlives_its_drain() {
    let prepared = Prepared::drainhook(BESIDE_AN_APP, &programs().unwrap()).unwrap();
    let outcome = run(prepared, plan()).await.unwrap();
    assert_nothing_failed(&outcome);
    for life in &outcome.lives {
        let Some(stopped) = &life.stopped else {
            continue;
        };
        let app = stopped
            .containers
            .iter()
            .find(|container| container.name == "app")
            .unwrap();
        let last = outcome
            .record
            .client_requests()
            .filter(|request| request.endpoint == Some(life.endpoint))
            .map(|request| request.ended)
            .max()
            .unwrap();
        // The clients may have taken it down late.
        let lag = outcome.record.lag(stopped.asked, last);
        assert!(
            app.told + lag >= last,
            "the app was told to end before the last answer"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_without_an_end_is_cut_at_its_bound_and_nothing_else_is_lost() {
    let prepared = Prepared::drainhook(&gateway(), &programs().unwrap()).unwrap();
    let mix = Mix {
        endless_websocket: 2,
        ..Mix::standard()
    };
    let outcome = run(prepared, Plan { mix, ..plan() }).await.unwrap();
    assert_nothing_failed(&outcome);
    assert_ended_when_due(&outcome);
    assert!(
        outcome.record.cut() > 0,
        "websockets were on pods that ended"
    );
}
