//! What no row of the tables says: how often is asked, what is said meanwhile, and moments that fall
//! together. Each of these was a change to the code that no other test noticed.

mod moments;

use std::time::Duration;

use super::{
    Observation, Plan, Question, Reason, Server, TellListeners, WaitFor,
    simulation::{Connection, FOREVER, Kind, Run, kept, ms, nobody, process, run, run_with, s},
};
use crate::reading::Arrived;

fn faulty(plan: Plan, fault: impl FnMut(Question, Duration) -> Option<Observation>) -> Run {
    let mut fault = fault;
    run_with(plan, true, &nobody(), ms(4), &mut fault)
}

fn asked_at(run: &Run, question: Question) -> Vec<Duration> {
    let asked = run.asked.iter().filter(|(_, asked)| *asked == question);
    asked.map(|(at, _)| *at).collect()
}

// What is said meanwhile.

#[test]
fn every_phase_says_why_it_is_not_over() {
    let left = |until: Duration, (at, words): (Duration, &str), what: &str| {
        let expected = format!("{what}: {:.1} s left", (until - at).as_secs_f64());
        assert_eq!(words, expected, "at {at:?}");
    };
    let delayed = faulty(
        Plan {
            delay: s(10),
            ..Plan::default()
        },
        |_, _| None,
    );
    left(s(10), delayed.words(s(4)), "drain-delay");
    let told = delayed.first(Question::FailHealthCheck).unwrap() + ms(4);
    left(told + s(5), delayed.words(s(12)), "floor");
    assert_eq!(delayed.words(FOREVER).1, "done");

    let untold = faulty(Plan::default(), |question, at| {
        (question == Question::FailHealthCheck && at < s(3)).then_some(Observation::Unknown)
    });
    assert_eq!(untold.words(ms(0)).1, "telling Envoy");
    let (at, words) = untold.words(s(2));
    let tries = asked_at(&untold, Question::FailHealthCheck);
    let failed = tries.iter().filter(|tried| **tried < at).count();
    assert_eq!(
        words,
        format!("Envoy could not be told yet, {failed} tries failed")
    );

    let starting = faulty(Plan::default(), |question, at| {
        let server = Server {
            is_live: at > s(7),
            ..process(1)
        };
        (question == Question::Server).then_some(Observation::Server(server))
    });
    assert_eq!(starting.words(s(3)).1, "Envoy has not come live yet");

    let hidden = faulty(Plan::default(), |question, at| {
        (question == Question::Gauges && at < s(20)).then_some(Observation::Unknown)
    });
    let (at, words) = hidden.words(s(15));
    let tries = asked_at(&hidden, Question::Gauges);
    let failed = tries.iter().filter(|tried| **tried < at).count();
    assert_eq!(
        words,
        format!("unknown what is open, {failed} readings failed: never taken as zero")
    );
}

#[test]
fn the_wait_says_what_holds_it_up() {
    let busy = run(Plan::default(), &[kept(Kind::Http(vec![(s(0), s(9))]))]);
    assert_eq!(busy.words(s(8)).1, "1 requests are in flight");
    // Its answer was counted by the look that found it gone.
    let (at, words) = busy.words(ms(9_600));
    let ended = words.rsplit(": ").next().unwrap();
    let ended: f64 = ended.trim_end_matches(" s ago").parse().unwrap();
    assert!((at.as_secs_f64() - ended - 9.0).abs() < 0.3, "{words}");
    assert!(words.starts_with("last connection: "), "{words}");

    let held = run(
        Plan {
            upgrade_timeout: s(15),
            ..Plan::default()
        },
        &[kept(Kind::Upgrade), kept(Kind::Tcp)],
    );
    assert_eq!(
        held.words(s(10)).1,
        "1 upgrades and 1 connections that are not HTTP are open"
    );

    let classic = Plan {
        wait_for: WaitFor::Connections,
        check_delay: s(2),
        ..Plan::default()
    };
    let classic = run(classic, &[kept(Kind::Tcp)]);
    let (at, words) = classic.words(s(6));
    let next = asked_at(&classic, Question::Gauges)
        .into_iter()
        .find(|look| *look > at)
        .unwrap();
    let next = (next - at).as_secs_f64();
    assert_eq!(
        words,
        format!("1 connections are open, next check in {next:.1} s")
    );
}

#[test]
fn the_process_that_was_told_is_known() {
    let run = run(Plan::default(), &nobody());
    assert_eq!(run.server, Some(process(1_000)));
}

#[test]
fn an_end_with_nothing_lost_is_told_from_one_that_had_to_be() {
    let drained = [Reason::Drained, Reason::Quiet];
    let cut = [Reason::Capped, Reason::Timeout, Reason::EnvoyGone];
    assert!(drained.iter().all(|reason| reason.is_drained()));
    assert!(!cut.iter().any(|reason| reason.is_drained()));
}

#[test]
fn envoy_is_told_when_the_delay_is_over_and_not_a_look_later() {
    let plan = Plan {
        delay: ms(7_500),
        ..Plan::default()
    };
    let told = run(plan, &nobody())
        .first(Question::FailHealthCheck)
        .unwrap();
    assert!((ms(7_500)..ms(7_600)).contains(&told), "{told:?}");
}

// What is open and what arrives.

#[test]
fn a_request_that_nothing_counts_is_still_a_sign_of_life_until_its_end() {
    // Its client went away before the answer, so that no counter moves.
    let counted = Arrived {
        connections: 1,
        requests: 0,
    };
    let plan = Plan {
        idle_quiet: s(3),
        ..Plan::default()
    };
    let clients = [kept(Kind::Http(vec![(s(1), s(12))]))];
    let mut fault =
        |question, _| (question == Question::Counters).then_some(Observation::Counters(counted));
    let run = run_with(plan, true, &clients, ms(4), &mut fault);
    assert_eq!(run.outcome.reason, Reason::Quiet);
    assert!(run.outcome.after >= s(15), "{:?}", run.outcome);
    assert!(run.outcome.after <= ms(15_500), "{:?}", run.outcome);
}

#[test]
fn a_connection_that_took_its_request_with_it_is_waited_for_as_well() {
    // Nothing is open at its end, and only the request has just been there.
    let plan = Plan {
        quiet: ms(0),
        idle_quiet: s(3),
        ..Plan::default()
    };
    let client = Connection {
        opened: s(0),
        closed: s(12),
        kind: Kind::Http(vec![(s(1), s(12))]),
    };
    let run = run(plan, &[client]);
    assert_eq!(run.outcome.reason, Reason::Drained);
    assert!(run.outcome.after >= s(15), "{:?}", run.outcome);
}

#[test]
fn more_than_min_open_connections_are_waited_for_in_quiet_as_without_it() {
    let plan = Plan {
        min_open: 2,
        ..Plan::default()
    };
    let busy = || kept(Kind::Http(vec![(s(0), s(20))]));
    let run = run(plan, &[busy(), busy(), busy()]);
    assert_eq!(run.outcome.reason, Reason::Quiet);
    assert!(run.outcome.after >= s(21), "{:?}", run.outcome);
}

#[test]
fn what_was_open_before_envoy_hung_is_not_reported_as_what_was_left() {
    let clients = [kept(Kind::Http(vec![(s(0), FOREVER)]))];
    let mut hangs = |_, at| (at > s(20)).then_some(Observation::Unknown);
    let run = run_with(Plan::default(), true, &clients, ms(4), &mut hangs);
    assert_eq!(run.outcome.reason, Reason::Timeout);
    assert_eq!(run.outcome.left, None);
}

// How often is asked.

#[test]
fn counters_are_read_at_about_half_of_the_looks_while_requests_are_in_flight() {
    let run = run(Plan::default(), &[kept(Kind::Http(vec![(s(0), s(60))]))]);
    let during = |question| {
        let asked = asked_at(&run, question);
        asked.iter().filter(|at| (s(6)..s(59)).contains(at)).count()
    };
    let (gauges, counters) = (during(Question::Gauges), during(Question::Counters));
    assert!(counters * 3 < gauges * 2, "{counters} of {gauges}");
    assert!(counters * 3 > gauges, "{counters} of {gauges}");
}

#[test]
fn the_pauses_grow_to_a_second_while_envoy_does_not_answer() {
    let run = faulty(Plan::default(), |question, _| {
        (question == Question::Gauges).then_some(Observation::Unknown)
    });
    let looks = asked_at(&run, Question::Gauges);
    let pauses: Vec<Duration> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] < ms(100), "{:?}", &pauses[..12]);
    assert!(pauses[..8].is_sorted(), "{:?}", &pauses[..12]);
    let longest = pauses.iter().max().unwrap();
    assert!((s(1)..ms(1_100)).contains(longest), "{longest:?}");
    // Ten tries to get there, and then one a second.
    assert!(looks.len() < 320, "{}", looks.len());
}

#[test]
fn an_envoy_that_does_not_say_who_it_is_is_asked_three_times_a_second_apart() {
    let run = faulty(Plan::default(), |question, _| {
        (question == Question::Server).then_some(Observation::Unknown)
    });
    let tries = asked_at(&run, Question::Server);
    assert_eq!(tries.len(), 3, "{tries:?}");
    assert!(
        tries.windows(2).all(|pair| pair[1] - pair[0] >= s(1)),
        "{tries:?}"
    );
    assert_eq!(run.count(Question::FailHealthCheck), 1);
}

#[test]
fn an_outage_is_followed_by_the_question_who_it_is_and_by_no_more_than_three() {
    let mut outage = 0;
    let run = faulty(Plan::default(), |question, at| match question {
        // Gauges alone: it is no longer known to be there, though it says that it is.
        Question::Gauges if at > s(4) && outage < 3 => {
            outage += 1;
            Some(Observation::Unknown)
        }
        Question::Server if at > s(4) => Some(Observation::Unknown),
        _ => None,
    });
    let tries = asked_at(&run, Question::Server);
    let after = tries.iter().filter(|at| **at > s(4)).count();
    assert!((1..=3).contains(&after), "{tries:?}");
    assert_eq!(run.outcome.reason, Reason::Drained);
}

#[test]
fn a_process_that_was_lost_from_sight_at_a_look_is_found_to_be_another() {
    let mut outage = 0;
    let run = faulty(Plan::default(), |question, at| match question {
        Question::Gauges if at > s(3) && outage < 2 => {
            outage += 1;
            Some(Observation::Unknown)
        }
        Question::Server if at > s(3) => Some(Observation::Server(process(2_000))),
        _ => None,
    });
    assert_eq!(run.outcome.reason, Reason::EnvoyGone, "{:?}", run.outcome);
}

#[test]
fn listeners_that_cannot_be_read_are_tried_three_times() {
    let run = faulty(Plan::default(), |question, _| {
        (question == Question::Listeners).then_some(Observation::Unknown)
    });
    assert_eq!(run.count(Question::Listeners), 3);
    let once = faulty(Plan::default(), {
        let mut failed = false;
        move |question, _| match question {
            Question::Listeners if !std::mem::replace(&mut failed, true) => {
                Some(Observation::Unknown)
            }
            Question::Listeners => Some(Observation::Listeners { modify_only: true }),
            _ => None,
        }
    });
    assert_eq!(once.count(Question::DrainListeners), 1);
}

#[test]
fn stats_that_are_hidden_three_times_are_hidden_for_certain() {
    let plan = Plan {
        min_drain: s(5),
        ..Plan::default()
    };
    let run = faulty(plan, |question, _| {
        (question == Question::Gauges).then_some(Observation::Hidden)
    });
    let first = run.first(Question::Sockets).unwrap();
    let before = asked_at(&run, Question::Gauges);
    assert_eq!(before.iter().filter(|at| **at < first).count(), 3);
}

#[test]
fn listeners_are_told_even_where_envoy_said_only_later_who_it_is() {
    let plan = Plan {
        tell_listeners: TellListeners::Always,
        ..Plan::default()
    };
    let mut asked = 0;
    let run = faulty(plan, |question, _| {
        asked += usize::from(question == Question::Server);
        (question == Question::Server && asked < 3).then_some(Observation::Unknown)
    });
    assert_eq!(run.count(Question::DrainListeners), 1);
}

#[test]
fn an_envoy_that_is_first_asked_after_a_long_delay_is_told() {
    // Nothing has failed yet, so that it is not late, however late it is.
    let plan = Plan {
        delay: s(12),
        ..Plan::default()
    };
    let mut fault = |question, _| {
        matches!(question, Question::Server | Question::Ready).then_some(Observation::Unknown)
    };
    for sockets in [true, false] {
        let plan = Plan { sockets, ..plan };
        let run = run_with(plan, false, &nobody(), ms(4), &mut fault);
        assert_eq!(run.count(Question::FailHealthCheck), 1);
        assert_eq!(run.outcome.reason, Reason::Drained, "{:?}", run.outcome);
    }
}

#[test]
fn the_kernels_figures_are_no_answer_of_envoys() {
    // Nobody at its admin, and then nobody who listens: it never was there.
    let mut fault = |question, at| match question {
        Question::Sockets => Some(Observation::Sockets {
            listening: u64::from(at < s(14)),
            open: u64::from(at < s(14)),
            arrived: 1,
        }),
        _ => Some(Observation::Refused),
    };
    let run = run_with(Plan::default(), false, &nobody(), ms(1), &mut fault);
    assert_eq!(run.outcome.reason, Reason::EnvoyGone);
    assert!(
        (s(14)..=ms(14_500)).contains(&run.outcome.after),
        "{:?}",
        run.outcome
    );
}

#[test]
fn an_envoy_that_only_ever_did_as_it_was_told_was_there_and_is_gone_when_it_refuses() {
    let clients = [kept(Kind::Http(vec![(s(0), FOREVER)]))];
    let mut fault = |question, at| match question {
        _ if at >= s(7) => Some(Observation::Refused),
        Question::FailHealthCheck => None,
        _ => Some(Observation::Unknown),
    };
    let run = run_with(Plan::default(), false, &clients, ms(1), &mut fault);
    assert_eq!(run.outcome.reason, Reason::EnvoyGone);
    let after = run.outcome.after;
    assert!((s(7)..s(9)).contains(&after), "{after:?}");
}

// What it costs while Envoy starts.

#[test]
fn the_classic_loop_does_not_hurry_while_envoy_starts() {
    let plan = Plan {
        wait_for: WaitFor::Connections,
        check_delay: s(1),
        ..Plan::default()
    };
    let run = faulty(plan, |question, at| {
        let server = Server {
            is_live: at > s(8),
            ..process(1)
        };
        (question == Question::Server).then_some(Observation::Server(server))
    });
    assert_eq!(run.outcome.reason, Reason::Drained);
    assert!(
        run.count(Question::Gauges) <= 4,
        "{}",
        run.count(Question::Gauges)
    );
}
