//! What must hold whatever clients and Envoy do.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Observation, Phase, Plan, Question, Reason, TellListeners, WaitFor,
    simulation::{Connection, FOREVER, Kind, Run, ms, open, process, run_with, s},
};

/// Half a second after it is due it has happened.
const LATEST: Duration = ms(500);
const GRID: Duration = ms(10);

fn clients() -> impl Strategy<Value = Vec<Connection>> {
    let moment = || (0u64..20_000).prop_map(ms);
    let request = (
        moment(),
        prop_oneof![(1u64..300), (300u64..9_000)].prop_map(ms),
    );
    let http = prop::collection::vec(request, 0..6).prop_map(|requests| {
        Kind::Http(
            requests
                .into_iter()
                .map(|(from, takes)| (from, from + takes))
                .collect(),
        )
    });
    let kind = prop_oneof![6 => http, 1 => Just(Kind::Upgrade), 1 => Just(Kind::Tcp)];
    let connection =
        (moment(), moment(), any::<bool>(), kind).prop_map(|(opened, open_for, stays, kind)| {
            let mut opened = opened;
            let mut closed = if stays { FOREVER } else { opened + open_for };
            if let Kind::Http(requests) = &kind {
                // A request lies inside of its connection.
                opened = requests
                    .iter()
                    .map(|(from, _)| *from)
                    .fold(opened, Duration::min);
                closed = requests
                    .iter()
                    .map(|(_, to)| *to)
                    .fold(closed, Duration::max);
            }
            Connection {
                opened,
                closed,
                kind,
            }
        });
    prop::collection::vec(connection, 0..8)
}

fn plans() -> impl Strategy<Value = Plan> {
    let seconds = |most: u64| (0..=most * 4).prop_map(|quarters| ms(quarters * 250));
    (
        seconds(8),
        seconds(4),
        seconds(3),
        seconds(20),
        seconds(20),
        seconds(3),
        20u64..60,
    )
        .prop_map(
            |(min_drain, quiet, idle_quiet, arrivals, upgrades, delay, timeout)| Plan {
                min_drain,
                quiet,
                idle_quiet,
                arrivals_timeout: arrivals,
                upgrade_timeout: upgrades,
                delay,
                timeout: s(timeout),
                ..Plan::default()
            },
        )
}

/// Whether all that a drain in `quiet` asks for holds at a moment, by what really happened. The floor
/// begins when Envoy was told, `told`.
///
/// What came before the first look is unknown, so that something may have come just then.
fn is_due(
    plan: &Plan,
    clients: &[Connection],
    (told, first_look): (Duration, Duration),
    at: Duration,
) -> bool {
    let floor = told + plan.min_drain;
    let arrivals_end = floor + plan.arrivals_timeout;
    let now = open(clients, at);
    let happened = |moment: Duration| (moment <= at).then_some(moment);
    let arrival = clients
        .iter()
        .filter_map(|client| happened(client.opened))
        .max();
    let requests = clients.iter().flat_map(|client| match &client.kind {
        Kind::Http(requests) => requests.clone(),
        _ => Vec::new(),
    });
    let request = requests
        .flat_map(|(from, to)| [happened(from), happened(to)])
        .flatten()
        .max();
    let quiet = |last: Option<Duration>, quiet: Duration| {
        at >= arrivals_end || last.is_none_or(|last| at >= last.max(first_look) + quiet)
    };
    at >= floor
        && now.requests == 0
        && now.upgrades == 0
        && now.other == 0
        && quiet(arrival, plan.quiet)
        && quiet(request, plan.idle_quiet)
}

/// When Envoy was told and when the first counters were read.
fn moments(run: &Run, latency: Duration) -> (Duration, Duration) {
    let told = run
        .asked
        .iter()
        .rfind(|(_, question)| *question == Question::FailHealthCheck);
    let told = told.map_or(Duration::ZERO, |(at, _)| *at);
    (
        told + latency,
        run.first(Question::Counters).unwrap_or_default() + latency,
    )
}

proptest! {
    // More than the usual 256, and as many as PROPTEST_CASES asks for.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(400)))]

    #[test]
    fn a_drain_ends_within_half_a_second_of_when_it_is_due(
        clients in clients(), plan in plans(), latency in (0u64..20).prop_map(ms),
    ) {
        let run = run_with(plan, true, &clients, latency, &mut |_, _| None);
        let moments = moments(&run, latency);
        let end = run.outcome.after;
        let mut due_since = None;
        let mut at = Duration::ZERO;
        while at < end {
            let due = is_due(&plan, &clients, moments, at);
            due_since = due.then(|| due_since.unwrap_or(at));
            if let Some(since) = due_since {
                prop_assert!(at < since + LATEST, "due at {since:?}, but it ended at {end:?}");
            }
            at += GRID;
        }
    }

    #[test]
    fn a_drain_never_ends_as_quiet_before_it_is_due(
        clients in clients(), plan in plans(), latency in (0u64..20).prop_map(ms),
        failures in prop::collection::vec(0u8..10, 64),
    ) {
        let mut number = 0;
        let run = run_with(plan, true, &clients, latency, &mut |question, _| {
            number += 1;
            let fails = failures[number % failures.len()] == 0;
            (fails && question != Question::Server).then_some(Observation::Unknown)
        });
        if run.outcome.reason.is_drained() {
            // What happens after the last look nobody can know; the look itself takes its time.
            let slack = latency * 2;
            let moments = (moments(&run, latency).0.saturating_sub(slack), Duration::ZERO);
            let end = run.outcome.after;
            let looking = (0..).map(|step| run.last_look + ms(step)).take_while(|at| *at <= end);
            prop_assert!(
                looking.chain([end]).any(|at| is_due(&plan, &clients, moments, at)),
                "ended at {:?} as {:?}", run.outcome.after, run.outcome
            );
        }
    }

    #[test]
    fn a_drain_is_over_at_its_bound_whatever_the_answers_are(
        plan in plans(),
        answered in any::<bool>(),
        wait_for in prop_oneof![Just(WaitFor::Quiet), Just(WaitFor::Connections)],
        tell_listeners in prop_oneof![
            Just(TellListeners::Auto), Just(TellListeners::Always), Just(TellListeners::Never)
        ],
        sockets in any::<bool>(),
        answers in prop::collection::vec(0u8..12, 1..200),
        latency in prop_oneof![Just(ms(0)), (1u64..50).prop_map(ms), Just(s(5))],
        clients in clients(),
    ) {
        let check_delay = plan.min_drain;
        let plan = Plan { wait_for, tell_listeners, sockets, check_delay, ..plan };
        let mut number = 0;
        let run = run_with(plan, answered, &clients, latency.max(ms(1)), &mut |question, _| {
            number += 1;
            match answers[number % answers.len()] {
                0 => Some(Observation::Unknown),
                1 => Some(Observation::Hidden),
                2 if number % 7 == 0 => Some(Observation::Refused),
                3 if question == Question::Server => {
                    Some(Observation::Server(super::Server { is_live: false, ..process(1_000) }))
                }
                4 if question == Question::Listeners => {
                    Some(Observation::Listeners { modify_only: true })
                }
                5 if question == Question::Counters && number % 5 == 0 => {
                    Some(Observation::Counters(crate::reading::Arrived::default()))
                }
                _ => None,
            }
        });
        prop_assert!(run.outcome.after <= plan.timeout);
        prop_assert_eq!(run.phases.last(), Some(&Phase::Done));
        // Phases only go forward.
        let order = [Phase::Delay, Phase::Notify, Phase::Floor, Phase::Wait, Phase::Done];
        let places: Vec<_> = run.phases.iter()
            .map(|phase| order.iter().position(|other| other == phase)).collect();
        prop_assert!(places.is_sorted(), "{:?}", run.phases);
        // Asking is bounded, whatever fails: a look each 200 ms and the first tries of a retry.
        let most = 100 + run.outcome.after.as_millis() / 40;
        prop_assert!(run.asked.len() as u128 <= most, "{} questions", run.asked.len());
    }

    #[test]
    fn an_envoy_whose_stats_are_never_known_is_kept_to_the_bound(
        plan in plans(), clients in clients(),
    ) {
        let run = run_with(plan, true, &clients, ms(3), &mut |question, _| {
            matches!(question, Question::Gauges | Question::Counters)
                .then_some(Observation::Unknown)
        });
        prop_assert_eq!(run.outcome.reason, Reason::Timeout);
        prop_assert_eq!(run.outcome.left, None);
    }
}
