use proptest::prelude::*;

use super::*;

const GAUGES: &str = "http.admin.downstream_cx_active: 1
http.admin.downstream_rq_active: 1
http.ingress.downstream_cx_active: 3
http.ingress.downstream_cx_upgrades_active: 2
http.ingress.downstream_rq_active: 5
listener.127.0.0.1_80.downstream_cx_active: 4
listener.127.0.0.1_80.downstream_pre_cx_active: 1
listener.[__1]_81.downstream_cx_active: 7
listener.admin.downstream_cx_active: 1
listener.admin.downstream_pre_cx_active: 0
listener.admin.main_thread.downstream_cx_active: 1
listener.my.front.downstream_cx_active: 2
";

const COUNTERS: &str = "listener.127.0.0.1_80.downstream_cx_total: 10
listener.127.0.0.1_80.http.ingress.downstream_rq_completed: 20
listener.127.0.0.1_80.http.other.downstream_rq_completed: 5
listener.admin.downstream_cx_total: 3
listener.admin.http.admin.downstream_rq_completed: 3
listener.admin.main_thread.downstream_cx_total: 3
";

#[test]
fn gauges_are_read_by_listener_and_prefix_without_the_admins_own() {
    let gauges = read_gauges([GAUGES.as_bytes()]).unwrap();
    let names: Vec<_> = gauges.listeners.keys().map(String::as_str).collect();
    assert_eq!(names, ["127.0.0.1_80", "[__1]_81", "my.front"]);
    assert_eq!(
        gauges.listeners["127.0.0.1_80"],
        Connections {
            active: 4,
            inspected: 1
        }
    );
    assert_eq!(
        gauges.http["ingress"],
        Http {
            connections: 3,
            requests: 5,
            upgrades: 2
        }
    );
    assert_eq!(gauges.http.len(), 1);
}

#[test]
fn counters_are_read_by_listener() {
    let counters = read_counters([COUNTERS.as_bytes()]).unwrap();
    assert_eq!(
        counters.connections,
        BTreeMap::from([("127.0.0.1_80".to_owned(), 10)])
    );
    assert_eq!(
        counters.requests,
        BTreeMap::from([("127.0.0.1_80".to_owned(), 25)])
    );
}

#[test]
fn prefixes_know_their_listeners() {
    let prefixes = read_prefixes([COUNTERS.as_bytes()]).unwrap();
    assert_eq!(prefixes["ingress"], ["127.0.0.1_80"]);
    assert!(!prefixes.contains_key("admin"));
}

#[test]
fn an_answer_without_the_admins_own_stats_is_hidden_and_not_zero() {
    for gone in [
        "listener.admin.downstream_cx_active",
        "http.admin.downstream",
    ] {
        let rest: String = GAUGES
            .lines()
            .filter(|line| !line.starts_with(gone))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(
            matches!(read_gauges([rest.as_bytes()]), Err(StatsError::Hidden(_))),
            "{gone}"
        );
    }
    assert!(matches!(
        read_gauges([&b""[..]]),
        Err(StatsError::Hidden(_))
    ));
    assert!(matches!(
        read_counters([&b""[..]]),
        Err(StatsError::Hidden(_))
    ));
    assert!(matches!(
        read_prefixes([&b"\n"[..]]),
        Err(StatsError::Hidden(_))
    ));
}

#[test]
fn whatever_is_no_stat_makes_the_whole_answer_unknown() {
    for garbage in [
        "<html>",
        "a: b",
        "listener.x.downstream_cx_active: -1",
        "{\"stats\":[]}",
    ] {
        let text = format!("{GAUGES}{garbage}");
        let unknown = matches!(read_gauges([text.as_bytes()]), Err(StatsError::NoStat(_)));
        assert!(unknown, "{garbage}");
        let text = format!("{garbage}\n{GAUGES}");
        assert!(
            matches!(read_gauges([text.as_bytes()]), Err(StatsError::NoStat(_))),
            "{garbage}"
        );
    }
}

#[test]
fn a_name_may_hold_a_colon_and_bytes_that_are_no_text() {
    let mut body = b"listener.a: b\xff.downstream_cx_active: 6\n".to_vec();
    body.extend_from_slice(GAUGES.as_bytes());
    let gauges = read_gauges([&body[..]]).unwrap();
    assert_eq!(gauges.listeners["a: b\u{fffd}"].active, 6);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(body in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = (read_gauges([&body[..]]), read_counters([&body[..]]), read_prefixes([&body[..]]));
    }

    #[test]
    fn an_answer_is_read_alike_in_pieces_of_any_size(size in 1usize..200) {
        let (gauges, counters) = (GAUGES.as_bytes(), COUNTERS.as_bytes());
        prop_assert_eq!(read_gauges(gauges.chunks(size)), read_gauges([gauges]));
        prop_assert_eq!(read_counters(counters.chunks(size)), read_counters([counters]));
        prop_assert_eq!(read_prefixes(counters.chunks(size)), read_prefixes([counters]));
    }

    #[test]
    fn an_answer_that_was_cut_is_never_read_as_less(cut in 0usize..400) {
        // Cut at any byte it is unknown, or has the admin's stats and lacks only what sorts after
        // them; the transport tells that it was cut.
        let cut = &GAUGES.as_bytes()[..cut.min(GAUGES.len())];
        if let Ok(gauges) = read_gauges([cut]) {
            prop_assert!(gauges.listeners.contains_key("127.0.0.1_80"));
            prop_assert!(gauges.http.contains_key("ingress"));
        }
    }
}
