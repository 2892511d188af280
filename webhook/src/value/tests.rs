use super::*;

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, milliseconds) in [
        ("90s", 90_000),
        ("5m", 300_000),
        ("1m30s", 90_000),
        ("500ms", 500),
        ("0s", 0),
    ] {
        assert_eq!(
            duration(text),
            Ok(Duration::from_millis(milliseconds)),
            "{text}"
        );
    }
}

#[test]
fn a_duration_without_a_unit_says_what_to_write() {
    assert_eq!(
        duration("300").unwrap_err(),
        "has no unit: write \"300s\" for seconds"
    );
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in ["", "-5s", "5 parsecs", "8days", "1us", "1e3s"] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert!(long_duration("0s").is_err());
}

#[test]
fn durations_are_written_so_that_they_read_back() {
    for milliseconds in [0, 1, 999, 1_000, 1_500, 300_000] {
        let value = Duration::from_millis(milliseconds);
        assert_eq!(duration(&duration_text(value)), Ok(value));
    }
}

#[test]
fn ports_that_need_privileges_are_refused() {
    assert_eq!(port("8090"), Ok(8090));
    for text in ["0", "80", "1023", "65536", "+8090", "http", ""] {
        assert!(port(text).is_err(), "{text}");
    }
}

#[test]
fn lists_have_no_holes_and_no_doubles() {
    assert_eq!(names("a, b"), Ok(vec!["a".to_owned(), "b".to_owned()]));
    for text in ["", "a,,b", "a,b,", "a,a", "A", "-a", "a-", "a_b"] {
        assert!(names(text).is_err(), "{text}");
    }
}

#[test]
fn a_listener_is_named_as_envoy_names_it() {
    let expected = vec!["https-443".to_owned(), "0.0.0.0_8443".to_owned()];
    assert_eq!(listeners("https-443,0.0.0.0_8443"), Ok(expected));
    assert!(listeners("a\u{7}").is_err());
}

#[test]
fn an_image_is_one_word() {
    assert!(image("registry.example:5000/team/shutdown-manager:v1@sha256:abc").is_ok());
    for text in ["", "a b", "a\nb", "$(X)", "-a"] {
        assert!(image(text).is_err(), "{text}");
    }
}

#[test]
fn names_are_no_longer_than_kubernetes_takes() {
    assert!(names(&"a".repeat(63)).is_ok());
    assert!(names(&"a".repeat(64)).is_err());
    // A Secret's is of several labels.
    let label = "a".repeat(63);
    let secret = |last: usize| secrets(&format!("{label}.{label}.{label}.{}", "a".repeat(last)));
    assert!(secret(61).is_ok(), "253");
    assert!(secret(62).is_err(), "254");
    assert!(secret(63).is_err(), "255");
    for text in ["a..b", ".a", "a.", "a.B"] {
        assert!(secrets(text).is_err(), "{text}");
    }
    assert_eq!(secrets("team.pull"), Ok(vec!["team.pull".to_owned()]));
}

#[test]
fn all_and_none_are_words_and_no_containers() {
    assert_eq!(wait_containers("all"), Ok(WaitContainers::All));
    assert_eq!(wait_containers("none"), Ok(WaitContainers::None));
    let named = WaitContainers::Named(vec!["app".to_owned()]);
    assert_eq!(wait_containers("app"), Ok(named));
}

#[test]
fn what_is_allowed_is_listed_as_a_sentence_has_it() {
    assert_eq!(not_a_word(&["a"]), "is not \"a\"");
    assert_eq!(not_a_word(&["a", "b"]), "is none of \"a\" and \"b\"");
    assert_eq!(
        Kind::Word(&["a", "b"]).check("c"),
        Err(not_a_word(&["a", "b"]))
    );
    assert_eq!(Kind::Word(&["a", "b"]).allowed(), "`a`, `b`");
}
