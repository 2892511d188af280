//! A row each of the tables in docs/drain.md.

mod faults;

use std::time::Duration;

use super::{
    Observation, Phase, Plan, Question, Reason, Server, Source, TellListeners, WaitFor,
    simulation::{Connection, FOREVER, Kind, Run, kept, ms, nobody, process, run, run_with, s},
    state::STARTUP,
};

fn ended(run: &Run, reason: Reason, from: Duration, to: Duration) {
    let outcome = run.outcome;
    assert_eq!(outcome.reason, reason, "{outcome:?}");
    assert!(
        outcome.after >= from && outcome.after <= to,
        "{outcome:?} not in {from:?}..{to:?}"
    );
}

fn faulty(fault: impl FnMut(Question, Duration) -> Option<Observation>) -> Run {
    let mut fault = fault;
    run_with(Plan::default(), true, &nobody(), ms(4), &mut fault)
}

// The phases.

#[test]
fn an_idle_envoy_is_done_when_the_floor_is_over() {
    let run = run(Plan::default(), &nobody());
    ended(&run, Reason::Drained, s(5), ms(5_100));
    use Phase::{Delay, Done, Floor, Notify, Wait};
    // `Delay` is where a drain stands before its first step.
    assert_eq!(run.phases, [Delay, Notify, Floor, Wait, Done]);
}

#[test]
fn envoy_is_not_told_before_the_delay_is_over() {
    let plan = Plan {
        delay: s(7),
        ..Plan::default()
    };
    let run = run(plan, &nobody());
    assert!(run.first(Question::FailHealthCheck) >= Some(s(7)));
    ended(&run, Reason::Drained, s(12), ms(12_100));
}

#[test]
fn telling_is_tried_again_until_it_worked_and_the_floor_begins_then() {
    let run = faulty(|question, at| {
        (question == Question::FailHealthCheck && at < s(3)).then_some(Observation::Unknown)
    });
    assert!(run.count(Question::FailHealthCheck) > 3);
    ended(&run, Reason::Drained, s(8), ms(9_100));
}

#[test]
fn the_bound_ends_even_a_drain_that_could_never_tell_envoy() {
    let run = faulty(|question, _| {
        (question == Question::FailHealthCheck).then_some(Observation::Unknown)
    });
    ended(&run, Reason::Timeout, s(300), s(300));
    assert_eq!(run.count(Question::Gauges), 0);
}

// What holds up the end.

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let clients: Vec<_> = (0..50).map(|_| kept(Kind::Http(Vec::new()))).collect();
    let run = run(Plan::default(), &clients);
    ended(&run, Reason::Quiet, s(5), ms(5_100));
    assert_eq!(run.outcome.left.unwrap().connections, 50);
}

#[test]
fn a_request_in_flight_holds_it_up_and_idle_quiet_begins_at_its_end() {
    let run = run(Plan::default(), &[kept(Kind::Http(vec![(s(1), s(12))]))]);
    ended(&run, Reason::Quiet, s(13), ms(13_500));
}

#[test]
fn the_quiet_time_runs_while_a_request_is_in_flight() {
    // The last arrival is 5 s old when the request ends: only idle-quiet is left to wait for.
    let plan = Plan {
        idle_quiet: ms(100),
        ..Plan::default()
    };
    let run = run(plan, &[kept(Kind::Http(vec![(s(1), s(12))]))]);
    ended(&run, Reason::Quiet, ms(12_100), ms(12_500));
}

#[test]
fn arrivals_hold_it_up_until_they_stop() {
    // A balancer that learns 30 s late.
    let clients: Vec<_> = (0..100)
        .map(|n| {
            let opened = ms(n * 300);
            let kind = Kind::Http(vec![(opened, opened + ms(5))]);
            Connection {
                opened,
                closed: opened + ms(10),
                kind,
            }
        })
        .collect();
    let run = run(Plan::default(), &clients);
    ended(&run, Reason::Drained, ms(31_700), ms(32_200));
}

#[test]
fn a_load_balancers_checks_do_not_hold_it_up_for_ever() {
    let checks: Vec<_> = (0..400)
        .map(|n| {
            let opened = s(n);
            let kind = Kind::Http(vec![(opened, opened + ms(2))]);
            Connection {
                opened,
                closed: opened + ms(3),
                kind,
            }
        })
        .collect();
    let run = run(Plan::default(), &checks);
    ended(&run, Reason::Drained, s(65), ms(65_500));
}

#[test]
fn requests_on_old_connections_hold_it_up() {
    let sparse = (0..20).map(|n| (ms(n * 700), ms(n * 700 + 5))).collect();
    let run = run(Plan::default(), &[kept(Kind::Http(sparse))]);
    ended(&run, Reason::Quiet, ms(14_305), ms(14_805));
}

#[test]
fn a_websocket_alone_holds_it_up_for_upgrade_timeout_and_no_longer() {
    let plan = Plan {
        upgrade_timeout: s(15),
        ..Plan::default()
    };
    let run = run(plan, &[kept(Kind::Upgrade)]);
    ended(&run, Reason::Capped, s(20), ms(20_500));
    assert_eq!(run.outcome.left.unwrap().upgrades, 1);
}

#[test]
fn a_tcp_connection_alone_does_too() {
    let plan = Plan {
        upgrade_timeout: s(15),
        ..Plan::default()
    };
    let run = run(plan, &[kept(Kind::Tcp)]);
    ended(&run, Reason::Capped, s(20), ms(20_500));
    assert_eq!(run.outcome.left.unwrap().other, 1);
}

#[test]
fn a_websocket_that_closes_ends_it_at_once() {
    let socket = Connection {
        opened: s(0),
        closed: s(9),
        kind: Kind::Upgrade,
    };
    ended(
        &run(Plan::default(), &[socket]),
        Reason::Drained,
        s(9),
        ms(9_500),
    );
}

#[test]
fn upgrade_timeout_never_cuts_a_request() {
    let plan = Plan {
        upgrade_timeout: s(1),
        ..Plan::default()
    };
    let clients = [kept(Kind::Upgrade), kept(Kind::Http(vec![(s(1), s(40))]))];
    ended(&run(plan, &clients), Reason::Capped, s(41), ms(42_500));
}

#[test]
fn without_upgrade_timeout_the_bound_ends_it() {
    ended(
        &run(Plan::default(), &[kept(Kind::Upgrade)]),
        Reason::Timeout,
        s(300),
        s(300),
    );
}

#[test]
fn min_open_connections_are_no_reason_to_wait_in_quiet() {
    let plan = Plan {
        min_open: 2,
        ..Plan::default()
    };
    let clients = [kept(Kind::Tcp), kept(Kind::Http(vec![(s(0), FOREVER)]))];
    ended(&run(plan, &clients), Reason::Drained, s(5), ms(5_100));
}

#[test]
fn short_connections_between_two_looks_are_seen_even_where_none_is_ever_open() {
    let clients: Vec<_> = (0..20)
        .map(|n| Connection {
            opened: ms(n * 900 + 50),
            closed: ms(n * 900 + 51),
            kind: Kind::Http(Vec::new()),
        })
        .collect();
    ended(
        &run(Plan::default(), &clients),
        Reason::Drained,
        ms(19_150),
        ms(19_650),
    );
}

// The classic loop.

fn classic() -> Plan {
    Plan {
        wait_for: WaitFor::Connections,
        ..Plan::default()
    }
}

#[test]
fn the_classic_loop_looks_first_after_check_delay() {
    ended(
        &run(classic(), &nobody()),
        Reason::Drained,
        s(60),
        ms(60_100),
    );
}

#[test]
fn the_classic_loop_waits_for_idle_connections_and_looks_each_check_interval() {
    let clients = [Connection {
        opened: s(0),
        closed: s(71),
        kind: Kind::Http(Vec::new()),
    }];
    ended(
        &run(classic(), &clients),
        Reason::Drained,
        s(75),
        ms(75_200),
    );
}

#[test]
fn the_classic_loop_is_done_at_min_open_connections() {
    let clients = [kept(Kind::Tcp), kept(Kind::Upgrade)];
    let few = Plan {
        min_open: 2,
        ..classic()
    };
    ended(&run(few, &clients), Reason::Drained, s(60), ms(60_100));
    let fewer = Plan {
        min_open: 1,
        ..classic()
    };
    ended(&run(fewer, &clients), Reason::Timeout, s(300), s(300));
}

// Which listeners are told.

#[test]
fn listeners_are_told_where_one_does_not_follow_the_health_check() {
    let modify_only = |question, _| {
        (question == Question::Listeners).then_some(Observation::Listeners { modify_only: true })
    };
    assert_eq!(faulty(modify_only).count(Question::DrainListeners), 1);
    assert_eq!(faulty(|_, _| None).count(Question::DrainListeners), 0);
}

#[test]
fn listeners_are_told_always_or_never_where_asked_for() {
    for (tell_listeners, times) in [(TellListeners::Always, 1), (TellListeners::Never, 0)] {
        let plan = Plan {
            tell_listeners,
            ..Plan::default()
        };
        let run = run(plan, &nobody());
        assert_eq!(run.count(Question::DrainListeners), times);
        assert_eq!(run.count(Question::Listeners), 0);
    }
}

#[test]
fn an_envoy_that_would_stop_listening_is_not_told() {
    // Before 1.28 there is no skip_exit; harmless only where --drain-time-s is beyond the bound.
    for (drain_time, times) in [(s(60), 0), (s(600), 1)] {
        let plan = Plan {
            tell_listeners: TellListeners::Always,
            ..Plan::default()
        };
        let old = Server {
            version: Some((1, 27)),
            drain_time: Some(drain_time),
            ..process(1)
        };
        let mut fault =
            |question, _| (question == Question::Server).then_some(Observation::Server(old));
        let run = run_with(plan, true, &nobody(), ms(4), &mut fault);
        assert_eq!(run.count(Question::DrainListeners), times);
    }
}

#[test]
fn a_configuration_that_cannot_be_read_does_not_hold_up_the_drain() {
    let run =
        faulty(|question, _| (question == Question::Listeners).then_some(Observation::Unknown));
    ended(&run, Reason::Drained, s(5), ms(5_100));
}

// What it costs.

#[test]
fn a_costly_envoy_is_asked_less_often() {
    let clients = [kept(Kind::Http(vec![(s(0), s(60))]))];
    let mut none = |_, _| None;
    let cheap = run_with(Plan::default(), true, &clients, ms(2), &mut none);
    let costly = run_with(Plan::default(), true, &clients, ms(80), &mut none);
    assert!(costly.asked.len() * 2 < cheap.asked.len());
}

#[test]
fn before_the_last_seconds_of_the_floor_envoy_is_only_looked_after() {
    let plan = Plan {
        min_drain: s(60),
        ..Plan::default()
    };
    let run = run(plan, &nobody());
    let early = |question| {
        run.asked
            .iter()
            .filter(|(at, asked)| *at < s(55) && *asked == question)
            .count()
    };
    assert_eq!((early(Question::Gauges), early(Question::Counters)), (0, 0));
    assert!(
        (50..=56).contains(&early(Question::Ready)),
        "{}",
        early(Question::Ready)
    );
}

#[test]
fn the_classic_loop_reads_stats_at_its_checks_only() {
    let clients = [Connection {
        opened: s(0),
        closed: s(71),
        kind: Kind::Tcp,
    }];
    let run = run(classic(), &clients);
    assert_eq!(run.count(Question::Gauges), 4);
}
