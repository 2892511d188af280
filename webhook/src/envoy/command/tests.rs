use serde_json::{Value, json};

use super::*;
use crate::pod::Pod;

fn start(container: Value) -> Start {
    let mut container = container;
    container["name"] = json!("envoy");
    let pod = json!({"spec": {"containers": [container]}});
    let pod = Pod::read(&pod).unwrap_or_else(|faults| panic!("{faults:?}"));
    Start::of(&pod.containers[0])
}

fn config(path: &str) -> Arguments {
    Arguments {
        config_path: Some(path.into()),
        ..Arguments::default()
    }
}

#[test]
fn envoy_is_found_behind_what_starts_it() {
    for command in [
        json!(["envoy", "-c", "/e.yaml"]),
        json!(["/usr/local/bin/envoy", "--config-path", "/e.yaml"]),
        json!(["/usr/bin/tini", "--", "envoy", "-c", "/e.yaml"]),
        json!([
            "dumb-init",
            "/docker-entrypoint.sh",
            "envoy",
            "-c",
            "/e.yaml"
        ]),
        json!([
            "su-exec",
            "envoy:envoy",
            "/usr/local/bin/envoy",
            "-c",
            "/e.yaml"
        ]),
        json!(["/bin/sh", "-c", "exec envoy -c /e.yaml"]),
        json!(["sh", "-e", "-c", "envoy -c /e.yaml"]),
        json!(["sh", "-c", "A_1=b _C= envoy -c /e.yaml"]),
        json!([
            "sh",
            "-ec",
            "cp -r /etc/envoy /tmp\nA=b exec /opt/envoy \\\n  -c '/e.yaml'"
        ]),
        json!(["bash", "-c", "if true; then envoy -c \"/e.yaml\"; fi"]),
        json!([
            "sh",
            "-c",
            "sed s/a/${B}/ x > /e.yaml && envoy -c /e.yaml & wait"
        ]),
    ] {
        let found = start(json!({"command": command.clone()}));
        assert_eq!(found, Start::Envoy(config("/e.yaml")), "{command}");
    }
}

#[test]
fn what_only_speaks_of_envoy_does_not_run_it() {
    for container in [
        json!({"command": ["/bin/contour"], "args": ["envoy", "shutdown-manager"]}),
        json!({"args": ["envoy", "shutdown-manager"]}),
        json!({"args": ["serve", "-c", "/e.yaml"]}),
        // Not the name of a variable, so the name of a program.
        json!({"command": ["sh", "-c", "a-b=c envoy -c /e.yaml"]}),
        json!({"command": ["sh", "-c", "=c envoy -c /e.yaml"]}),
        json!({"command": ["sh", "-c", "mkdir -p /etc/envoy && ls /etc/envoy -l"]}),
        json!({"command": ["cp", "-r", "/etc/envoy", "/tmp"]}),
        json!({"command": ["sh", "-c"]}),
        json!({"command": ["tini"]}),
    ] {
        assert_eq!(start(container.clone()), Start::Other, "{container}");
    }
}

#[test]
fn without_a_command_the_image_starts_it() {
    assert_eq!(start(json!({})), Start::Image(Arguments::default()));
    assert_eq!(
        start(json!({"args": ["-c", "/e.yaml"]})),
        Start::Image(config("/e.yaml"))
    );
    let by_name = json!({"args": ["envoy", "-c", "/e.yaml"]});
    assert_eq!(start(by_name), Start::Envoy(config("/e.yaml")));
}

#[test]
fn flags_take_their_value_behind_a_blank_or_an_equals_sign() {
    let args = json!([
        "--drain-time-s",
        "30",
        "--drain-strategy=immediate",
        "--base-id",
        "2",
        "--admin-address-path=/tmp/admin",
        "--disable-hot-restart",
        "--mode",
        "validate",
    ]);
    let Start::Image(arguments) = start(json!({"args": args})) else {
        panic!("not the image")
    };
    assert_eq!(arguments.drain_time, Some(30));
    assert_eq!(arguments.drain_strategy.as_deref(), Some("immediate"));
    assert_eq!(arguments.base_id.as_deref(), Some("2"));
    assert_eq!(arguments.admin_address_path.as_deref(), Some("/tmp/admin"));
    assert!(arguments.any_base_id && arguments.only_validates);
    // A flag of one letter does not.
    let short = start(json!({"args": ["-c=/e.yaml"]}));
    assert_eq!(short, Start::Image(Arguments::default()));
}

#[test]
fn variables_are_expanded_as_the_kubelet_does() {
    let container = json!({
        "args": ["--config-yaml", "port: $(PORT) $(POD_IP) $$(PORT) $ $(PORT"],
        "env": [
            {"name": "PORT", "value": "9901"},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
    });
    let Start::Image(arguments) = start(container) else {
        panic!("not the image")
    };
    let expected = "port: 9901 $(POD_IP) $(PORT) $ $(PORT";
    assert_eq!(arguments.config_yaml.as_deref(), Some(expected));
}

#[test]
fn references_cannot_blow_a_word_up() {
    let value = "x".repeat(10_000);
    let many = "$(V)".repeat(10_000);
    // Both words refer to it more often than twice.
    let container = json!({
        "args": ["--config-yaml", many, "-c", "$(V)$(V)$(V)"],
        "env": [{"name": "V", "value": value}],
    });
    let Start::Image(arguments) = start(container) else {
        panic!("not the image")
    };
    let text = arguments.config_yaml.unwrap();
    assert_eq!(text.matches(&value).count(), 2, "each variable twice");
    assert!(text.ends_with("$(V)"), "what is over stays as it is");
    assert!(text.len() < 100_000, "{}", text.len());
}

#[test]
fn a_short_value_may_stand_in_many_words() {
    let container = json!({
        "args": ["--config-yaml", "$(P) $(P) $(P) $(P)", "-c", "/$(P)"],
        "env": [{"name": "P", "value": "9901"}],
    });
    let Start::Image(arguments) = start(container) else {
        panic!("not the image")
    };
    assert_eq!(
        arguments.config_yaml.as_deref(),
        Some("9901 9901 9901 9901")
    );
    assert_eq!(arguments.config_path.as_deref(), Some("/9901"));
}

/// Each of these took a time or a stack that grew with more than its length.
#[test]
fn no_words_are_dear_to_read() {
    let many = |word: &str| word.repeat(LONGEST_WORD / word.len());
    let launchers = vec!["env"; 200_000];
    assert_eq!(start(json!({"command": launchers})), Start::Other);
    let script = many("exec env sh ");
    assert_eq!(
        start(json!({"command": ["sh", "-c", script]})),
        Start::Other
    );
    for script in [many("${;"), many("${a} ${"), many("$(a"), many("`{")] {
        let container = json!({"command": ["sh", "-c", script]});
        assert_eq!(start(container), Start::Other);
    }
    for word in [many("$("), format!("{})", many("$(")), many("$($")] {
        let container = json!({"args": ["--config-path", word]});
        let name = "n".repeat(100_000);
        let mut with_name = container.clone();
        with_name["env"] = json!([{"name": name, "value": "v"}]);
        for container in [container, with_name] {
            assert!(matches!(start(container), Start::Image(_)));
        }
    }
}

#[test]
fn quotes_keep_line_breaks_in_a_word() {
    let script = "exec envoy --config-yaml 'admin:\n  a: \"b\"; c' -c /e.yaml # envoy -c /no";
    let Start::Envoy(arguments) = start(json!({"command": ["sh", "-c", script]})) else {
        panic!("not found")
    };
    assert_eq!(
        arguments.config_yaml.as_deref(),
        Some("admin:\n  a: \"b\"; c")
    );
    assert_eq!(arguments.config_path.as_deref(), Some("/e.yaml"));
}

#[test]
fn a_words_quotes_parameters_and_signs_end_where_the_shell_ends_them() {
    for (script, path) in [
        ("envoy -c \"/my config.yaml\" -l info", "/my config.yaml"),
        (r#"envoy -c "a\"b\\c\d;e" -l info"#, r#"a"b\c\d;e"#),
        ("envoy -c ${DIR}/e.yaml -l info", "${DIR}/e.yaml"),
        ("envoy -c ${DIR};wait", "${DIR}"),
        ("envoy -c /e$;wait", "/e$;wait"),
        ("envoy -c '{a';wait", "{a"),
        ("envoy -c /e#1.yaml #2", "/e#1.yaml"),
    ] {
        let found = start(json!({"command": ["sh", "-c", script]}));
        assert_eq!(found, Start::Envoy(config(path)), "{script}");
    }
}

#[test]
fn what_linux_starts_no_command_with_is_not_read() {
    let script = |length: usize| {
        let begin = "envoy -c /e.yaml #";
        let script = begin.to_owned() + &"x".repeat(length - begin.len());
        start(json!({"command": ["sh", "-c", script]}))
    };
    assert_eq!(
        script(LONGEST_WORD),
        Start::Envoy(config("/e.yaml")),
        "128 KiB"
    );
    for more in [1, 2] {
        assert_eq!(script(LONGEST_WORD + more), Start::Other, "{more} more");
    }
    let expanded = |length: usize| {
        let word = "$(V)".to_owned() + &"x".repeat(length - 4);
        let env = json!([{"name": "V", "value": "v"}]);
        let Start::Image(arguments) = start(json!({"args": ["-c", word], "env": env})) else {
            panic!("not the image")
        };
        arguments.config_path.unwrap().starts_with("vx")
    };
    assert!(expanded(LONGEST_WORD));
    assert!(!expanded(LONGEST_WORD + 1) && !expanded(LONGEST_WORD + 2));
}

#[test]
fn a_reference_to_a_name_that_no_variable_has_is_no_reference() {
    let expanded = |length: usize| {
        let name = "n".repeat(length);
        let env = json!([{"name": name, "value": "/e.yaml"}]);
        start(json!({"args": ["-c", format!("$({name})")], "env": env}))
    };
    assert_eq!(expanded(256), Start::Image(config("/e.yaml")));
    assert_ne!(expanded(257), Start::Image(config("/e.yaml")));
}
