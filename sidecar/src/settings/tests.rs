use std::time::Duration;

use super::*;

fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::read(
        arguments.iter().map(|text| (*text).to_owned()),
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

fn faults(arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    match read(arguments, variables) {
        Err(SettingsError::Faults(faults)) => faults,
        other => panic!("accepted: {other:?}"),
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let settings = read(&[], &[]).unwrap();
    assert_eq!(settings.command, Command::Serve);
    assert_eq!(settings.port, DEFAULT_PORT);
    assert_eq!(settings.bind, None);
    assert_eq!(settings.plan, Plan::default());
    assert_eq!(
        settings.envoys,
        [EnvoyAt {
            name: "envoy".into(),
            admin: Address::loopback(DEFAULT_ADMIN_PORT)
        }]
    );
}

#[test]
fn every_flag_has_its_variable() {
    let flags = [
        ("admin", "a=9901,b=unix:///run/b.sock"),
        ("port", "8091"),
        ("bind", "127.0.0.1"),
        ("host-network", "true"),
        ("wait-for", "connections"),
        ("drain-timeout", "400s"),
        ("drain-delay", "3s"),
        ("min-drain", "6s"),
        ("quiet", "4s"),
        ("idle-quiet", "1500ms"),
        ("arrivals-timeout", "1m30s"),
        ("drain-listeners", "never"),
        ("upgrade-timeout", "20s"),
        ("check-delay", "10s"),
        ("check-interval", "2s"),
        ("min-open-connections", "7"),
        ("exclude-listeners", "a,8443"),
        ("quietened-listeners", "8080"),
        ("token", "0123abcd"),
        ("ready-file", "/tmp/ok"),
        ("termination-log", "/tmp/log"),
        ("log-level", "debug"),
        ("log-format", "json"),
    ];
    let arguments: Vec<_> = flags
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let variables: Vec<_> = flags
        .iter()
        .map(|(name, value)| (flags::variable(name), *value))
        .collect();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let by_flags = read(&arguments, &[]).unwrap();
    assert_eq!(by_flags, read(&[], &variables).unwrap());
    assert_eq!(by_flags.plan.arrivals_timeout, Duration::from_secs(90));
    assert_eq!(by_flags.plan.min_open, 7);
    assert!(!by_flags.plan.sockets);
    assert_eq!(by_flags.envoys.len(), 2);
}

#[test]
fn contours_names_work() {
    let arguments = ["--admin-address=/admin/admin.sock", "--serve-port=8092"];
    let settings = read(&arguments, &[]).unwrap();
    assert_eq!(
        settings.envoys[0].admin,
        Address::Unix("/admin/admin.sock".into())
    );
    assert_eq!(settings.port, 8092);
    let settings = read(&["--admin-port", "9001"], &[]).unwrap();
    assert_eq!(settings.envoys[0].admin, Address::loopback(9001));
}

#[test]
fn flags_win_over_variables_under_whatever_name() {
    let variables = [
        ("SHUTDOWN_MANAGER_PORT", "1"),
        ("SHUTDOWN_MANAGER_ADMIN", "1"),
    ];
    let settings = read(&["--serve-port", "2", "--admin-port=3"], &variables).unwrap();
    assert_eq!(settings.port, 2);
    assert_eq!(settings.envoys[0].admin, Address::loopback(3));
}

#[test]
fn all_faults_are_told_at_once_each_with_its_name_and_value() {
    let arguments = [
        "--quiet",
        "soon",
        "--wait-for=peace",
        "--port",
        "0",
        "--admin=10.0.0.1:9901",
    ];
    let variables = [
        ("SHUTDOWN_MANAGER_LOG_LEVEL", "loud"),
        ("SHUTDOWN_MANAGER_BIND", "here"),
    ];
    let faults = faults(&arguments, &variables);
    assert_eq!(faults.len(), 6, "{faults:#?}");
    let all = faults.join("\n");
    for part in [
        "--quiet: \"soon\"",
        "--wait-for: \"peace\" is not one of quiet, connections",
        "--port: \"0\"",
        "--admin: \"10.0.0.1:9901\"",
        "SHUTDOWN_MANAGER_LOG_LEVEL: \"loud\"",
        "SHUTDOWN_MANAGER_BIND: \"here\"",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
}

#[test]
fn a_drain_that_could_only_end_at_its_bound_is_refused() {
    let tight = ["--drain-timeout=10s", "--drain-delay=5s", "--min-drain=5s"];
    assert!(faults(&tight, &[])[0].contains("drain-timeout"));
    assert!(
        read(
            &["--drain-timeout=10s", "--drain-delay=5s", "--min-drain=4s"],
            &[]
        )
        .is_ok()
    );
    // The classic loop's floor is its own.
    let classic = ["--wait-for=connections", "--drain-timeout=60s"];
    assert!(faults(&classic, &[])[0].contains("check-delay"));
}

#[test]
fn a_link_to_a_service_of_our_name_is_no_setting_and_told() {
    let links = [
        ("SHUTDOWN_MANAGER_PORT", "tcp://10.0.0.1:80"),
        ("SHUTDOWN_MANAGER_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("SHUTDOWN_MANAGER_SERVICE_HOST", "10.0.0.1"),
    ];
    let settings = read(&[], &links).unwrap();
    assert_eq!(settings.port, DEFAULT_PORT);
    assert_eq!(settings.notes.len(), 1, "{:?}", settings.notes);
}

#[test]
fn a_variable_that_is_none_is_told_and_one_that_is_empty_is_not_set() {
    let variables = [
        ("SHUTDOWN_MANAGER_QUIT", "1s"),
        ("SHUTDOWN_MANAGER_QUIET", ""),
    ];
    let settings = read(&[], &variables).unwrap();
    assert!(settings.notes[0].contains("SHUTDOWN_MANAGER_QUIT"));
    assert_eq!(settings.plan.quiet, Plan::default().quiet);
}

#[test]
fn on_the_nodes_network_only_loopback_is_served_unless_said_otherwise() {
    let loopback = Some(IpAddr::from([127, 0, 0, 1]));
    assert_eq!(read(&["--host-network"], &[]).unwrap().bind, loopback);
    let said = read(&["--host-network", "--bind=127.0.0.7"], &[]).unwrap();
    assert_eq!(said.bind, Some(IpAddr::from([127, 0, 0, 7])));
    assert_eq!(read(&["--bind=::"], &[]).unwrap().bind, None);
}

#[test]
fn a_token_is_compared_and_never_shown() {
    let settings = read(&["--token=s3cret"], &[]).unwrap();
    let token = settings.token.clone().unwrap();
    assert!(token.matches(b"s3cret"));
    for wrong in [&b"s3cre"[..], b"s3crets", b"S3cret", b""] {
        assert!(!token.matches(wrong));
    }
    assert!(!format!("{settings:?}").contains("s3cret"));
    assert!(!faults(&["--token=s3cret wrong"], &[])[0].contains("s3cret"));
}

#[test]
fn shutdown_takes_a_name_and_other_words_are_refused() {
    let command = |arguments| read(arguments, &[]).unwrap().command;
    assert_eq!(command(&["shutdown"]), Command::Shutdown(None));
    assert_eq!(
        command(&["shutdown", "inner"]),
        Command::Shutdown(Some("inner".into()))
    );
    assert!(faults(&["drain"], &[])[0].contains("\"drain\""));
    assert!(faults(&["--quite", "1s"], &[])[0].contains("--quite"));
}

#[test]
fn help_is_no_fault() {
    assert!(
        matches!(read(&["--help"], &[]), Err(SettingsError::Told(text)) if text.contains("--quiet"))
    );
}
