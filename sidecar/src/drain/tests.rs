//! A row each of the tables in docs/drain.md.

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

// Faults.

#[test]
fn envoy_that_refuses_connections_is_gone_at_once_in_any_phase() {
    for moment in [ms(0), ms(500), s(3), s(8)] {
        let plan = Plan {
            delay: s(1),
            ..Plan::default()
        };
        let clients = [kept(Kind::Http(vec![(s(0), FOREVER)]))];
        let mut fault = |_, at| (at >= moment).then_some(Observation::Refused);
        let run = run_with(plan, true, &clients, ms(4), &mut fault);
        ended(&run, Reason::EnvoyGone, moment, moment + ms(1_100));
    }
}

#[test]
fn envoy_that_never_answered_is_given_ten_seconds() {
    let plan = Plan {
        sockets: false,
        ..Plan::default()
    };
    let mut refuses = |_, _| Some(Observation::Refused);
    let run = run_with(plan, false, &nobody(), ms(1), &mut refuses);
    ended(&run, Reason::EnvoyGone, STARTUP, STARTUP + s(1));
}

#[test]
fn envoy_that_comes_up_meanwhile_is_drained() {
    let mut late = |_, at| (at < s(4)).then_some(Observation::Refused);
    let run = run_with(Plan::default(), false, &nobody(), ms(1), &mut late);
    ended(&run, Reason::Drained, s(9), ms(10_100));
}

#[test]
fn envoy_that_never_came_live_is_no_drain() {
    let run = faulty(|question, _| {
        let starting = Server {
            is_live: false,
            ..process(1)
        };
        (question == Question::Server).then_some(Observation::Server(starting))
    });
    ended(&run, Reason::EnvoyGone, STARTUP, STARTUP + s(1));
}

#[test]
fn envoy_that_comes_live_late_is_drained() {
    let run = faulty(|question, at| {
        let server = Server {
            is_live: at > s(7),
            ..process(1)
        };
        (question == Question::Server).then_some(Observation::Server(server))
    });
    assert_eq!(run.outcome.reason, Reason::Drained);
}

#[test]
fn envoy_that_hangs_is_unknown_and_kept_to_the_bound() {
    let plan = Plan::default();
    let mut hangs = |_, at| (at > s(3)).then_some(Observation::Unknown);
    let run = run_with(plan, true, &nobody(), s(5), &mut hangs);
    ended(&run, Reason::Timeout, s(300), s(300));
    assert_eq!(run.outcome.left, None);
}

#[test]
fn envoy_that_hangs_for_a_while_is_drained_after_it() {
    let run = faulty(|_, at| (at > s(1) && at < s(30)).then_some(Observation::Unknown));
    ended(&run, Reason::Drained, s(30), ms(33_500));
}

#[test]
fn one_reading_that_fails_ends_nothing() {
    let mut readings = 0;
    let clients = [kept(Kind::Http(vec![(s(0), s(9))]))];
    let mut fault = |question, _| {
        readings += usize::from(question == Question::Gauges);
        (question == Question::Gauges && readings % 2 == 0).then_some(Observation::Unknown)
    };
    let run = run_with(Plan::default(), true, &clients, ms(4), &mut fault);
    ended(&run, Reason::Quiet, s(10), s(12));
}

#[test]
fn a_restarted_envoy_ends_the_drain_and_is_told_nothing() {
    // Restarted between two looks, so that nobody saw it gone.
    for moment in [ms(100), s(2), ms(4_990)] {
        let run = faulty(|question, at| match question {
            Question::Ready if at > moment => Some(Observation::Ready { is_live: true }),
            Question::Server if at > moment => Some(Observation::Server(process(2_000))),
            _ => None,
        });
        ended(&run, Reason::EnvoyGone, moment, moment + ms(1_100));
        assert_eq!(run.count(Question::FailHealthCheck), 1);
    }
}

#[test]
fn envoy_that_was_restarted_during_the_delay_is_not_told() {
    let plan = Plan {
        delay: s(4),
        ..Plan::default()
    };
    let mut restarted = |question, at| {
        let server = if at > s(1) {
            process(2_000)
        } else {
            process(1_000)
        };
        match question {
            Question::Ready => Some(Observation::Ready { is_live: true }),
            Question::Server => Some(Observation::Server(server)),
            _ => None,
        }
    };
    let run = run_with(plan, true, &nobody(), ms(4), &mut restarted);
    ended(&run, Reason::EnvoyGone, s(4), ms(4_100));
    assert_eq!(run.count(Question::FailHealthCheck), 0);
}

#[test]
fn the_same_process_that_is_ready_again_is_drained() {
    // Somebody undid our word with `POST /healthcheck/ok`.
    let run = faulty(|question, at| match question {
        Question::Ready if at > s(2) => Some(Observation::Ready { is_live: true }),
        Question::Server if at > s(2) => Some(Observation::Server(Server {
            is_ready: true,
            ..process(1_000)
        })),
        _ => None,
    });
    ended(&run, Reason::Drained, s(5), ms(5_100));
    assert!(run.count(Question::Server) <= 4);
}

#[test]
fn readiness_that_cannot_be_read_does_not_hold_up_the_drain() {
    let run = faulty(|question, _| (question == Question::Ready).then_some(Observation::Unknown));
    ended(&run, Reason::Drained, s(5), ms(5_100));
}

#[test]
fn a_restart_that_nobody_saw_is_found_after_the_outage() {
    let run = faulty(|question, at| match question {
        _ if at > s(2) && at < s(3) => Some(Observation::Unknown),
        Question::Server if at >= s(3) => Some(Observation::Server(process(2_000))),
        _ => None,
    });
    ended(&run, Reason::EnvoyGone, s(3), ms(4_500));
}

#[test]
fn a_hot_restart_is_a_restart() {
    let run = faulty(|question, at| match question {
        _ if at > s(2) && at < s(3) => Some(Observation::Unknown),
        Question::Server if at >= s(3) => Some(Observation::Server(Server {
            restart_epoch: 1,
            ..process(1_000)
        })),
        _ => None,
    });
    assert_eq!(run.outcome.reason, Reason::EnvoyGone);
}

#[test]
fn counters_that_were_reset_are_an_arrival_and_no_end() {
    // `POST /reset_counters`, by anybody.
    let clients = [Connection {
        opened: s(0),
        closed: s(1),
        kind: Kind::Http(Vec::new()),
    }];
    let mut reset = |question, at| {
        let arrived = crate::reading::Arrived::default();
        (question == Question::Counters && at > s(4)).then_some(Observation::Counters(arrived))
    };
    let run = run_with(Plan::default(), true, &clients, ms(4), &mut reset);
    ended(&run, Reason::Drained, s(6), ms(6_500));
}

#[test]
fn what_came_before_the_first_look_may_have_come_just_then() {
    let plan = Plan {
        quiet: s(20),
        ..Plan::default()
    };
    let long_ago = Connection {
        opened: s(0),
        closed: s(0),
        kind: Kind::Tcp,
    };
    ended(&run(plan, &[long_ago]), Reason::Drained, s(20), ms(20_500));
    // Unless nothing ever came.
    ended(&run(plan, &nobody()), Reason::Drained, s(5), ms(5_100));
}

#[test]
fn one_answer_without_stats_is_an_accident() {
    for hidden in [Question::Gauges, Question::Counters] {
        let mut times = 0;
        let run = faulty(|question, _| {
            times += usize::from(question == hidden);
            (question == hidden && times == 1).then_some(Observation::Hidden)
        });
        ended(&run, Reason::Drained, s(5), ms(5_500));
        assert_eq!(run.outcome.source, Source::Admin);
        assert_eq!(run.count(Question::Sockets), 0);
    }
}

#[test]
fn stats_that_are_there_again_are_believed_again() {
    let clients = [kept(Kind::Http(Vec::new()))];
    let mut hidden =
        |question, at| (question == Question::Gauges && at < s(20)).then_some(Observation::Hidden);
    // The kernel cannot tell that the connection is idle, Envoy can.
    let run = run_with(Plan::default(), true, &clients, ms(4), &mut hidden);
    ended(&run, Reason::Quiet, s(20), s(27));
    assert_eq!(run.outcome.source, Source::Admin);
}

#[test]
fn server_info_that_cannot_be_read_does_not_hold_up_the_drain() {
    let mut readings = 0;
    let run = faulty(|question, _| {
        readings += 1;
        let fails = question == Question::Server || readings % 9 == 0;
        fails.then_some(Observation::Unknown)
    });
    ended(&run, Reason::Drained, s(5), s(7));
}

// Without Envoy's figures.

#[test]
fn without_an_admin_interface_open_connections_are_waited_for() {
    let clients = [Connection {
        opened: s(0),
        closed: s(20),
        kind: Kind::Http(Vec::new()),
    }];
    let mut off = |question, _| (question != Question::Sockets).then_some(Observation::Refused);
    let run = run_with(Plan::default(), false, &clients, ms(1), &mut off);
    ended(&run, Reason::Drained, s(20), ms(21_500));
    assert_eq!(run.outcome.source, Source::Sockets);
    assert_eq!(run.phases.last(), Some(&Phase::Done));
}

#[test]
fn without_an_admin_interface_and_without_anybody_listening_there_is_no_envoy() {
    let mut off = |question, _| match question {
        Question::Sockets => Some(Observation::Sockets {
            listening: 0,
            open: 0,
            arrived: 0,
        }),
        _ => Some(Observation::Refused),
    };
    let run = run_with(Plan::default(), false, &nobody(), ms(1), &mut off);
    ended(&run, Reason::EnvoyGone, STARTUP, STARTUP + s(1));
}

#[test]
fn hidden_stats_are_replaced_by_the_kernels_and_envoy_is_told_all_the_same() {
    let clients = [Connection {
        opened: s(0),
        closed: s(9),
        kind: Kind::Http(Vec::new()),
    }];
    for delay in [s(0), s(2)] {
        let plan = Plan {
            delay,
            ..Plan::default()
        };
        let mut hidden = |question, _| {
            matches!(question, Question::Gauges | Question::Counters).then_some(Observation::Hidden)
        };
        let run = run_with(plan, true, &clients, ms(4), &mut hidden);
        ended(&run, Reason::Drained, s(9), ms(10_500));
        assert_eq!(run.count(Question::FailHealthCheck), 1);
        assert_eq!(run.outcome.source, Source::Sockets);
    }
}

#[test]
fn hidden_stats_on_the_nodes_network_are_unknown() {
    let plan = Plan {
        sockets: false,
        ..Plan::default()
    };
    let mut hidden = |question, _| (question == Question::Gauges).then_some(Observation::Hidden);
    let run = run_with(plan, true, &nobody(), ms(4), &mut hidden);
    ended(&run, Reason::Timeout, s(300), s(300));
    assert_eq!(run.count(Question::Sockets), 0);
}

#[test]
fn where_arrivals_are_hidden_they_are_waited_for_as_long_as_they_may_come() {
    let mut hidden = |question, _| (question == Question::Counters).then_some(Observation::Hidden);
    let run = run_with(Plan::default(), true, &nobody(), ms(4), &mut hidden);
    ended(&run, Reason::Drained, s(65), ms(65_500));
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
