use super::*;
use crate::{drain::Source, listeners::Class};

fn outcome(reason: Reason, left: Option<Open>, source: Source) -> Outcome {
    Outcome {
        reason,
        after: Duration::from_millis(8_213),
        left,
        source,
        words: "why",
    }
}

fn report(reason: Reason) -> DrainReport {
    let left = Open {
        connections: 12,
        requests: 1,
        upgrades: 2,
        other: 3,
    };
    let breakdown = Breakdown {
        listeners: (0..7)
            .map(|n| (format!("0.0.0.0_{n}"), Class::Counted, 2))
            .collect(),
        http: Vec::new(),
    };
    DrainReport::new(
        "gateway",
        &outcome(reason, Some(left), Source::Admin),
        &breakdown,
    )
}

#[test]
fn the_words_name_reason_time_and_what_was_left() {
    let report = report(Reason::Timeout);
    assert_eq!(
        report.words,
        "gateway: timeout after 8.2 s: why; left open: 12 connections, of them 3 not HTTP, with 1 \
         requests and 2 upgrades (0.0.0.0_0=2 0.0.0.0_1=2 0.0.0.0_2=2 0.0.0.0_3=2 0.0.0.0_4=2 and \
         2 more)"
    );
    assert_eq!(report.seconds, 8.213);
}

#[test]
fn figures_of_the_kernel_are_said_to_be_that() {
    let some = outcome(Reason::Drained, Some(Open::default()), Source::Sockets);
    let words = DrainReport::new("a", &some, &Breakdown::default()).words;
    assert!(
        words.contains("/proc/net/tcp") && words.contains("nothing was left"),
        "{words}"
    );
}

#[test]
fn what_is_unknown_is_said_to_be_unknown() {
    let unknown = outcome(Reason::Timeout, None, Source::Admin);
    let words = DrainReport::new("a", &unknown, &Breakdown::default()).words;
    assert!(words.ends_with("what was left is unknown"), "{words}");
}

#[test]
fn only_drained_and_quiet_are_a_success_and_all_must_be() {
    for reason in Reason::ALL {
        let one = Report {
            drains: vec![report(reason)],
        };
        assert_eq!(
            one.is_drained(),
            matches!(reason, Reason::Drained | Reason::Quiet)
        );
        let two = Report {
            drains: vec![report(Reason::Quiet), report(reason)],
        };
        assert_eq!(two.is_drained(), one.is_drained());
    }
    assert!(!Report::default().is_drained());
}

#[test]
fn a_report_survives_its_way_through_json() {
    let sent = Report {
        drains: vec![report(Reason::Capped)],
    };
    let text = serde_json::to_string(&sent).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), sent);
}

#[test]
fn a_termination_message_fits_what_the_kubelet_takes() {
    let path = std::env::temp_dir().join(format!("shutdown-manager-{}", std::process::id()));
    let mut long = report(Reason::Timeout);
    long.words = "ä".repeat(4000);
    write_termination_message(&path, &Report { drains: vec![long] });
    let written = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(written.len() <= MOST_MESSAGE_BYTES && written.len() > MOST_MESSAGE_BYTES - 4);
}
