use super::*;
use crate::load::Arrival;

const SETTINGS: Settings = Settings {
    drain_delay: Duration::ZERO,
    min_drain: Duration::from_secs(5),
    quiet: Duration::from_secs(2),
    idle_quiet: Duration::from_secs(1),
    arrivals_timeout: Duration::from_secs(20),
    upgrade_timeout: Duration::from_secs(10),
    drain_timeout: Duration::from_secs(60),
};

/// Seconds from the beginning of the end at which the drain was due, after these arrivals and
/// requests (from, to).
fn due(arrivals: &[u64], requests: &[(Kind, u64, u64)]) -> (u64, Reason) {
    due_where_it_ended(1_000, arrivals, requests)
}

/// The same where the drain was over at a moment.
fn due_where_it_ended(
    ended: u64,
    arrivals: &[u64],
    requests: &[(Kind, u64, u64)],
) -> (u64, Reason) {
    let asked = Instant::now();
    let at = |seconds: u64| asked + Duration::from_secs(seconds);
    let endpoint = SocketAddr::from(([127, 0, 0, 2], 80));
    let arrivals = arrivals.iter().map(|seconds| Arrival {
        endpoint,
        at: at(*seconds),
        kind: Kind::Short,
    });
    let requests = requests.iter().map(|(kind, from, to)| Request {
        kind: *kind,
        endpoint: Some(endpoint),
        sent: at(*from),
        ended: at(*to),
        outcome: match kind {
            Kind::EndlessWebSocket => Outcome::Cut,
            _ => Outcome::Answered,
        },
    });
    let record = Record {
        started: asked,
        requests: requests.collect(),
        arrivals: arrivals.collect(),
        replaced: 0,
        lags: Vec::new(),
    };
    let (due, reason) = super::due(
        endpoint,
        asked,
        at(ended),
        Duration::ZERO,
        &record,
        &SETTINGS,
    );
    (due.saturating_duration_since(asked).as_secs(), reason)
}

#[test]
fn nothing_ends_before_the_floor() {
    assert_eq!(due(&[], &[]), (5, Reason::Floor));
    assert_eq!(due(&[2], &[(Kind::Slow, 0, 3)]), (5, Reason::Floor));
}

#[test]
fn the_last_arrival_is_waited_for_until_arrivals_time_out() {
    assert_eq!(due(&[1, 9], &[]), (11, Reason::Arrivals));
    assert_eq!(due(&[1, 9, 50], &[]), (25, Reason::Arrivals));
}

#[test]
fn the_last_request_is_waited_for_however_late_it_ends() {
    assert_eq!(due(&[1], &[(Kind::Slow, 1, 8)]), (9, Reason::Requests));
    assert_eq!(due(&[1], &[(Kind::Slow, 1, 40)]), (40, Reason::Requests));
    assert_eq!(due(&[1], &[(Kind::Slow, 1, 80)]), (60, Reason::Timeout));
}

#[test]
fn a_request_that_comes_while_only_a_websocket_is_left_does_not_start_its_bound_anew() {
    let websocket = (Kind::EndlessWebSocket, 0, 999);
    let slow = |from, to| (Kind::Slow, from, to);
    // Alone from 5 s on, so that the bound is at 15 s; from 7 s on, where a request lasts to 6 s.
    assert_eq!(
        due(&[1], &[websocket, slow(8, 9)]),
        (15, Reason::WebsocketBound)
    );
    assert_eq!(
        due(&[1], &[websocket, slow(1, 6), slow(9, 10)]),
        (17, Reason::WebsocketBound)
    );
    // One that is in flight when the bound is reached is waited for.
    assert_eq!(
        due(&[1], &[websocket, slow(8, 18)]),
        (19, Reason::WebsocketBound)
    );
}

#[test]
fn a_websocket_that_was_cut_too_early_does_not_make_its_own_end_the_due_one() {
    assert_eq!(
        due(&[1], &[(Kind::EndlessWebSocket, 0, 9)]),
        (15, Reason::WebsocketBound)
    );
}

#[test]
fn what_comes_when_all_is_over_does_not_make_it_due_later() {
    let quick = |at| (Kind::KeepAlive, at, at);
    let one = [quick(6)];
    assert_eq!(due_where_it_ended(9, &[1], &one), (7, Reason::Requests));
    let late = [quick(6), quick(9)];
    assert_eq!(due_where_it_ended(9, &[1, 9], &late), (7, Reason::Requests));
    // A second before it was to be seen.
    let seen = [quick(6), quick(8)];
    assert_eq!(due_where_it_ended(9, &[1], &seen), (9, Reason::Requests));
}

/// What is wrong where it was due and ended at these moments, in milliseconds.
fn off(due: u64, ended: u64, lag: u64, held: Option<u64>) -> Option<String> {
    let verdict = Verdict {
        lag: Duration::from_millis(lag),
        held: held.map(Duration::from_millis),
        ..judged(due, ended)
    };
    verdict.fault()
}

fn judged(due: u64, ended: u64) -> Verdict {
    Verdict {
        pod: "it".to_owned(),
        due: Duration::from_millis(due),
        reason: Reason::Requests,
        ended: Duration::from_millis(ended),
        lag: Duration::ZERO,
        held: None,
        held_since_due: None,
        unseen: Duration::ZERO,
    }
}

#[test]
fn half_of_the_drains_may_not_be_late_without_having_waited() {
    let held = |since: u64, ended: u64| Verdict {
        held: Some(Duration::from_millis(since)),
        held_since_due: Some(Duration::from_millis(since)),
        ..judged(9_000, ended)
    };
    let late = |since: u64| held(since, 10_000);
    let prompt = held(0, 9_100);
    let unknown = judged(9_000, 20_000);
    assert_eq!(systematically_late(&[unknown.clone(), unknown]), None);
    let before = Verdict {
        held: Some(Duration::from_millis(600)),
        ..late(0)
    };
    assert_eq!(systematically_late(&[before]), None);
    assert_eq!(systematically_late(&[]), None);
    assert_eq!(systematically_late(&[prompt.clone(), late(0)]), None);
    assert_eq!(systematically_late(&[late(600), late(700)]), None);
    let said = systematically_late(&[prompt, late(0), late(100)]).unwrap();
    assert_eq!(
        said,
        "half of 3 drains ended 0.90 s and more after they were due"
    );
}

#[test]
fn an_end_before_it_was_due_is_a_fault_but_for_what_the_clients_were_late() {
    assert_eq!(off(9_000, 8_600, 0, Some(0)), None);
    let early = off(9_000, 8_400, 0, Some(5_000)).unwrap();
    assert!(early.contains("0.60 s before it was due"), "{early}");
    assert_eq!(off(9_000, 8_400, 200, None), None);
}

#[test]
fn an_end_long_after_it_was_due_is_a_fault_but_for_what_the_machine_kept_it_waiting() {
    assert_eq!(off(9_000, 11_400, 0, Some(0)), None);
    let late = off(9_000, 12_000, 0, Some(50)).unwrap();
    assert!(late.contains("3.00 s after it was due"), "{late}");
    assert!(late.ends_with("it had 2.65 s"), "{late}");
    assert_eq!(off(9_000, 11_600, 0, Some(50)), None);
    // Two seconds, and a pause of the longest kind.
    assert_eq!(off(9_000, 14_400, 0, Some(2_000)), None);
    assert!(off(9_000, 14_600, 0, Some(2_000)).is_some());
}

#[test]
fn where_nobody_knows_how_long_it_was_kept_waiting_an_end_long_after_is_a_fault() {
    assert_eq!(off(9_000, 28_000, 0, None), None);
    let late = off(9_000, 30_000, 0, None).unwrap();
    assert!(late.contains("21.00 s after it was due"), "{late}");
}

#[test]
fn websockets_hold_up_the_end_up_to_their_bound() {
    assert_eq!(
        due(&[1], &[(Kind::WebSocket, 1, 7)]),
        (7, Reason::Websockets)
    );
    assert_eq!(
        due(&[1], &[(Kind::EndlessWebSocket, 0, 900)]),
        (15, Reason::WebsocketBound)
    );
    let both = [(Kind::EndlessWebSocket, 0, 900), (Kind::Slow, 0, 8)];
    assert_eq!(due(&[1], &both), (19, Reason::WebsocketBound));
}
