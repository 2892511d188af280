//! Moments that fall together, and the words for what happens in them.

use std::time::Duration;

use super::super::{
    Action, Drain, Observation, Phase, Plan, Question, Reason, Source,
    simulation::{ms, nobody, process, run, s},
    wait::Wait,
};
use crate::reading::{Arrived, Open};

const ONE_CAME: Arrived = Arrived {
    connections: 1,
    requests: 0,
};

/// The wait after a floor of 5 s, with what one complete look has seen at that time.
fn waiting(open: Open, at: Duration) -> Wait {
    let mut wait = Wait::new(Plan::default());
    wait.begin(s(5));
    wait.gauges(open, at, at);
    wait.counters(Arrived::default(), at, at);
    wait
}

#[test]
fn the_very_moment_at_which_it_may_be_over_is_not_too_early() {
    let idle = Open::default();
    assert_eq!(waiting(idle, ms(4_999)).verdict(ms(4_999)), None);
    let verdict = waiting(idle, s(5)).verdict(s(5));
    assert_eq!(verdict.map(|(reason, _)| reason), Some(Reason::Drained));
}

/// Between the answer and our next step we may be held up: what came meanwhile nobody has seen.
#[test]
fn an_answer_that_is_heard_late_tells_of_the_time_at_which_it_was_asked_for() {
    let (idle, came) = (Open::default(), ONE_CAME);
    let mut wait = waiting(idle, s(5));
    wait.gauges(idle, s(6), s(6));
    wait.counters(came, s(6), s(6));
    wait.gauges(idle, s(7), s(7));
    wait.counters(came, s(10), s(7));
    assert_eq!(wait.verdict(s(10)), None);
    assert!(wait.next_look(s(10)) <= s(10), "and so the next one is due");
    assert!(wait.words(s(10)).starts_with("last connection: 4.0 s ago"));
    wait.gauges(idle, s(10), s(10));
    wait.counters(came, s(10), s(10));
    let verdict = wait.verdict(s(10));
    assert_eq!(verdict.map(|(reason, _)| reason), Some(Reason::Drained));
}

#[test]
fn from_the_moment_at_which_it_may_be_over_only_upgrades_are_spoken_of() {
    let upgrade = Open {
        connections: 1,
        upgrades: 1,
        ..Open::default()
    };
    let wait = waiting(upgrade, s(5));
    assert!(wait.words(ms(4_999)).starts_with("last connection"));
    assert!(wait.words(s(5)).starts_with("1 upgrades"));
}

#[test]
fn counters_that_are_a_quarter_of_a_second_old_are_read_again_while_requests_are_in_flight() {
    let busy = Open {
        connections: 1,
        requests: 1,
        ..Open::default()
    };
    for (at, question) in [(ms(6_249), None), (ms(6_250), Some(Question::Counters))] {
        let mut wait = waiting(busy, s(6));
        wait.gauges(busy, at, at);
        assert_eq!(wait.rest_of_look(), question, "{at:?}");
    }
}

#[test]
fn close_looks_begin_as_long_before_the_end_of_the_floor_as_they_have_to() {
    let first = run(Plan::default(), &nobody())
        .first(Question::Gauges)
        .unwrap();
    // Quiet and a look before 5 s after the telling, and not only when Envoy is looked after next.
    assert!((ms(2_850)..ms(2_900)).contains(&first), "{first:?}");
}

#[test]
fn envoys_own_figures_are_asked_for_again_five_seconds_after_they_were_found_hidden() {
    let asked = |later: Duration| {
        let mut drain = Drain::new(Plan::default(), true);
        let (mut now, mut hidden_at, mut observation) = (s(0), None, Observation::Time);
        loop {
            let (next, action) = drain.step(observation, now);
            drain = next;
            observation = match (action, hidden_at) {
                (Action::Ask(question @ (Question::Gauges | Question::Sockets)), Some(at))
                    if now >= at + later =>
                {
                    return question;
                }
                (Action::Ask(Question::Gauges), _) => Observation::Hidden,
                (Action::Ask(Question::Sockets), _) => {
                    hidden_at = hidden_at.or(Some(now));
                    Observation::Sockets {
                        listening: 1,
                        open: 1,
                        arrived: 1,
                    }
                }
                (Action::Ask(Question::Server), _) => Observation::Server(process(1_000)),
                (Action::Ask(Question::Ready), _) => Observation::Ready { is_live: false },
                (Action::Ask(_), _) => Observation::Told,
                (Action::Sleep(until), None) => {
                    now = until;
                    Observation::Time
                }
                (Action::Sleep(_), Some(at)) => {
                    now = at + later;
                    Observation::Time
                }
                (Action::Finish(outcome), _) => panic!("{outcome:?}"),
            };
        }
    };
    assert_eq!(asked(ms(4_999)), Question::Sockets);
    assert_eq!(asked(s(5)), Question::Gauges);
}

// Words that others read: in logs, metrics and the report.

#[test]
fn phases_reasons_sources_and_questions_have_the_words_that_are_documented() {
    use Phase::{Delay, Done, Floor, Notify, Wait};
    let phases = [Delay, Notify, Floor, Wait, Done].map(Phase::as_str);
    assert_eq!(phases, ["delay", "notify", "floor", "wait", "done"]);
    let reasons = Reason::ALL.map(Reason::as_str);
    assert_eq!(
        reasons,
        ["drained", "quiet", "capped", "timeout", "envoy-gone"]
    );
    let sources = [Source::Admin, Source::Sockets].map(Source::as_str);
    assert_eq!(sources, ["admin", "sockets"]);
    let questions = [
        Question::Server,
        Question::Ready,
        Question::FailHealthCheck,
        Question::Listeners,
        Question::DrainListeners,
        Question::Gauges,
        Question::Counters,
        Question::Sockets,
    ];
    assert_eq!(
        questions.map(Question::as_str),
        [
            "server_info",
            "ready",
            "healthcheck_fail",
            "listeners",
            "drain_listeners",
            "gauges",
            "counters",
            "sockets"
        ]
    );
}
