//! The command line, and the variables that stand for it. Everything is text here: what a value
//! means is decided in one place, so that all faults of a configuration are told at once.

use std::collections::BTreeMap;

use clap::{CommandFactory, Parser};

/// Each flag `--x-y` has the variable `SHUTDOWN_MANAGER_X_Y`.
const PREFIX: &str = "SHUTDOWN_MANAGER_";

/// What Kubernetes sets in each pod of a namespace with a Service called `shutdown-manager`
/// ("service links"), beside `SHUTDOWN_MANAGER_PORT` itself.
const SERVICE_LINKS: [&str; 2] = ["SERVICE_", "PORT_"];

/// Drains the Envoy beside it: told by a preStop hook on /shutdown, it fails Envoy's health check,
/// watches Envoy until nothing is left that a client could miss, and answers.
#[derive(Debug, Default, Parser)]
#[command(
    name = "shutdown-manager",
    version,
    args_override_self = true,
    after_help = "Each flag has a variable: --min-drain is SHUTDOWN_MANAGER_MIN_DRAIN. Flags win.\n\
                  Durations are written 90s, 5m, 1m30s."
)]
pub(super) struct Flags {
    /// `serve` (the default), or `shutdown`: asks the local one, waits, exits 0 only when drained
    #[arg(value_name = "serve|shutdown")]
    pub(super) verb: Option<String>,
    /// With `shutdown`: which Envoy, where the pod has several
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,

    /// Envoy's admin interface: 9901, 127.0.0.1:9901, unix:///path; several: a=9901,b=unix:///path
    #[arg(long, alias = "admin-address", value_name = "ADDRESS")]
    pub(super) admin: Option<String>,
    /// The admin interface by its port alone, on 127.0.0.1
    #[arg(long, value_name = "PORT")]
    pub(super) admin_port: Option<String>,
    /// The port to serve on [8090]
    #[arg(long, alias = "serve-port", value_name = "PORT")]
    pub(super) port: Option<String>,
    /// The address to serve on [:: and 0.0.0.0; with --host-network 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(super) bind: Option<String>,
    /// The pod shares its node's network
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub(super) host_network: Option<String>,

    /// When a drain is over: `quiet` (nothing that a client could miss) or `connections` [quiet]
    #[arg(long, value_name = "quiet|connections")]
    pub(super) wait_for: Option<String>,
    /// Upper bound of a whole drain [300s]
    #[arg(long, value_name = "DURATION")]
    pub(super) drain_timeout: Option<String>,
    /// How long to wait before Envoy is told [0s]
    #[arg(long, value_name = "DURATION")]
    pub(super) drain_delay: Option<String>,
    /// Floor: how long others need to learn that this pod ends [5s]
    #[arg(long, value_name = "DURATION")]
    pub(super) min_drain: Option<String>,
    /// How long no connection may have arrived [2s]
    #[arg(long, value_name = "DURATION")]
    pub(super) quiet: Option<String>,
    /// How long no request may have been seen [1s]
    #[arg(long, value_name = "DURATION")]
    pub(super) idle_quiet: Option<String>,
    /// How long after the floor new arrivals may hold up the end [60s]
    #[arg(long, value_name = "DURATION")]
    pub(super) arrivals_timeout: Option<String>,
    /// Also send drain_listeners?graceful&skip_exit: where needed, always, never [auto]
    #[arg(long, value_name = "auto|always|never")]
    pub(super) drain_listeners: Option<String>,
    /// How long websockets, CONNECT and TCP connections alone may hold up the end [drain-timeout]
    #[arg(long, value_name = "DURATION")]
    pub(super) upgrade_timeout: Option<String>,
    /// With --wait-for connections: how long to wait before the first look [60s]
    #[arg(long, value_name = "DURATION")]
    pub(super) check_delay: Option<String>,
    /// With --wait-for connections: time between two looks [5s]
    #[arg(long, value_name = "DURATION")]
    pub(super) check_interval: Option<String>,
    /// Done when no more connections than this are open [0]
    #[arg(long, value_name = "COUNT")]
    pub(super) min_open_connections: Option<String>,

    /// Listeners that do not count at all: name, stat name or port
    #[arg(long, value_name = "LIST")]
    pub(super) exclude_listeners: Option<String>,
    /// Ports whose arrivals do not extend the quiet time (probes, scrapes)
    #[arg(long, value_name = "LIST")]
    pub(super) quietened_listeners: Option<String>,

    /// What a caller of /shutdown and /wait must send in x-drainhook-token
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Option<String>,
    /// A file to write when drained
    #[arg(long, value_name = "PATH")]
    pub(super) ready_file: Option<String>,
    /// Where the report goes as the container's termination message [/dev/termination-log]
    #[arg(long, value_name = "PATH")]
    pub(super) termination_log: Option<String>,
    /// error, warn, info, debug or trace [info]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// text or json [text]
    #[arg(long, value_name = "text|json")]
    pub(super) log_format: Option<String>,
}

/// The flags as given, and what there is to say about the variables.
pub(super) struct Given {
    pub(super) flags: Flags,
    /// Flags (by name) whose value came from a variable.
    pub(super) from_environment: BTreeMap<String, String>,
    /// Variables with our prefix that mean nothing to us.
    pub(super) notes: Vec<String>,
}

/// Reads the command line (without the program's name) over the variables.
pub(super) fn read(
    arguments: Vec<String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Given, clap::Error> {
    let command = Flags::command();
    let known: Vec<(String, Vec<String>)> = command
        .get_arguments()
        .filter_map(|argument| {
            let name = argument.get_long()?.to_owned();
            let aliases = argument.get_all_aliases().unwrap_or_default();
            let mut variables = vec![variable(&name)];
            variables.extend(aliases.iter().map(|alias| variable(alias)));
            Some((name, variables))
        })
        .collect();

    let mut notes = Vec::new();
    let mut from_environment = BTreeMap::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let flag = known
            .iter()
            .find(|(_, variables)| variables.contains(&name));
        match flag {
            // A variable that is set to nothing is how a manifest says "not set".
            _ if value.is_empty() => {}
            Some((flag, _)) if flag == "port" && value.contains("://") => notes.push(format!(
                "{name}={value} is a link to a Service called shutdown-manager, not a setting: \
                 ignored; enableServiceLinks: false in the pod keeps it away"
            )),
            Some((flag, _)) => {
                from_environment.insert(flag.clone(), value);
            }
            None if SERVICE_LINKS.iter().any(|link| rest.starts_with(link)) => {}
            None => notes.push(format!("{name} is no setting of this version: ignored")),
        }
    }

    // Variables first and the command line after them: the last value of a flag wins.
    let line = std::iter::once("shutdown-manager".to_owned())
        .chain(
            from_environment
                .iter()
                .map(|(flag, value)| format!("--{flag}={value}")),
        )
        .chain(arguments.iter().cloned());
    let flags = Flags::try_parse_from(line)?;

    from_environment.retain(|flag, _| !is_given(&known, flag, &arguments));
    Ok(Given {
        flags,
        from_environment,
        notes,
    })
}

/// The variable of a flag.
pub(super) fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

fn is_given(known: &[(String, Vec<String>)], flag: &str, arguments: &[String]) -> bool {
    let Some((_, variables)) = known.iter().find(|(name, _)| name == flag) else {
        return false;
    };
    arguments.iter().any(|argument| {
        let name = argument.split('=').next().unwrap_or_default();
        name.strip_prefix("--")
            .is_some_and(|name| variables.contains(&variable(name)))
    })
}
