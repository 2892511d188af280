//! Envoys that hang, end, hide their figures or were never there.

use super::*;

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
