use super::*;
use crate::{
    listeners::ListenerRef,
    stats::{Connections, Http},
};

/// A layout from prefixes and their listeners, with excluded and quietened listeners.
fn layout(prefixes: &[(&str, &[&str])], exclude: &[&str], quietened: &[&str]) -> Layout {
    let refs = |texts: &[&str]| texts.iter().map(|text| ListenerRef::new(text)).collect();
    let mut layout = Layout::new(Rules::new(refs(exclude), refs(quietened)));
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    layout.learn(
        prefixes
            .iter()
            .map(|(p, names)| ((*p).to_owned(), owned(names)))
            .collect(),
    );
    layout
}

/// Gauges from open connections by listener, and (connections, requests, upgrades) by prefix.
fn gauges(listeners: &[(&str, u64)], http: &[(&str, u64, u64, u64)]) -> Gauges {
    let listeners = listeners.iter().map(|(name, active)| {
        (
            (*name).to_owned(),
            Connections {
                active: *active,
                inspected: 0,
            },
        )
    });
    let http = http
        .iter()
        .map(|(prefix, connections, requests, upgrades)| {
            let http = Http {
                connections: *connections,
                requests: *requests,
                upgrades: *upgrades,
            };
            ((*prefix).to_owned(), http)
        });
    Gauges {
        listeners: listeners.collect(),
        http: http.collect(),
    }
}

#[test]
fn requests_are_those_in_flight_without_upgrades() {
    let layout = layout(&[("web", &["a"])], &[], &[]);
    let open = layout.open(&gauges(&[("a", 6)], &[("web", 6, 5, 2)]));
    assert_eq!(
        open,
        Open {
            connections: 6,
            requests: 3,
            upgrades: 2,
            other: 0
        }
    );
}

#[test]
fn what_is_not_http_is_the_difference_by_listener() {
    let layout = layout(&[("web", &["a"]), ("both", &["b"])], &[], &[]);
    // `a` is HTTP, `b` has two chains, `c` is TCP.
    let open = layout.open(&gauges(
        &[("a", 4), ("b", 5), ("c", 2)],
        &[("web", 4, 0, 0), ("both", 3, 0, 0)],
    ));
    assert_eq!(open.other, 2 + 2);
}

#[test]
fn http_of_one_listener_does_not_hide_tcp_of_another() {
    // An internal listener's HTTP connections belong to no connection that we see.
    let layout = layout(
        &[("inner", &["envoy_internal_x"]), ("web", &["a"])],
        &[],
        &[],
    );
    let open = layout.open(&gauges(
        &[("a", 1), ("tcp", 3)],
        &[("web", 1, 0, 0), ("inner", 9, 4, 0)],
    ));
    assert_eq!(
        open,
        Open {
            connections: 4,
            requests: 0,
            upgrades: 0,
            other: 3
        }
    );
}

#[test]
fn listeners_that_share_a_prefix_are_counted_together() {
    let layout = layout(&[("web", &["a", "b"])], &[], &[]);
    let http = gauges(&[("a", 2), ("b", 3)], &[("web", 5, 1, 0)]);
    assert_eq!(layout.open(&http).other, 0);
    let tcp_too = gauges(&[("a", 2), ("b", 4)], &[("web", 5, 1, 0)]);
    assert_eq!(layout.open(&tcp_too).other, 1);
}

#[test]
fn an_excluded_listener_does_not_count_at_all() {
    let layout = layout(&[("web", &["a"]), ("out", &["b"])], &["b"], &[]);
    let open = layout.open(&gauges(
        &[("a", 1), ("b", 8)],
        &[("web", 1, 0, 0), ("out", 5, 5, 1)],
    ));
    assert_eq!(
        open,
        Open {
            connections: 1,
            requests: 0,
            upgrades: 0,
            other: 0
        }
    );
}

#[test]
fn a_prefix_shared_with_an_excluded_listener_counts() {
    let layout = layout(&[("web", &["a", "b"])], &["b"], &[]);
    let open = layout.open(&gauges(&[("a", 0), ("b", 2)], &[("web", 2, 2, 0)]));
    assert_eq!((open.requests, open.other), (2, 0));
}

#[test]
fn while_nothing_is_known_everything_counts() {
    let layout = Layout::default();
    let some = gauges(&[("a", 5)], &[("web", 3, 1, 0)]);
    assert!(layout.is_stale(&some));
    assert_eq!(
        layout.open(&some),
        Open {
            connections: 5,
            requests: 1,
            upgrades: 0,
            other: 2
        }
    );
}

#[test]
fn arrivals_on_quietened_and_ignored_listeners_do_not_count_requests_in_flight_there_do() {
    let layout = layout(&[("web", &["0.0.0.0_80"])], &["x"], &["80"]);
    let counters = |quietened, ignored, counted| Counters {
        connections: BTreeMap::from([
            ("0.0.0.0_80".to_owned(), quietened),
            ("x".to_owned(), ignored),
            ("y".to_owned(), counted),
        ]),
        requests: BTreeMap::from([("0.0.0.0_80".to_owned(), quietened)]),
    };
    let before = layout.arrived(&counters(1, 1, 1));
    assert_eq!(before, layout.arrived(&counters(9, 9, 1)));
    assert_ne!(before, layout.arrived(&counters(1, 1, 2)));
    let open = layout.open(&gauges(&[("0.0.0.0_80", 2)], &[("web", 1, 1, 0)]));
    assert_eq!((open.requests, open.other), (1, 1));
}

#[test]
fn a_gauge_below_zero_is_a_lot_and_not_nothing() {
    let layout = layout(&[("web", &["a"])], &[], &[]);
    let open = layout.open(&gauges(
        &[("a", u64::MAX), ("b", 5)],
        &[("web", 0, u64::MAX, 0)],
    ));
    assert_eq!((open.connections, open.requests), (u64::MAX, u64::MAX));
}
