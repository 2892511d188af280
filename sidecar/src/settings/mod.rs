//! The configuration: read from flags and variables, checked as a whole, all faults told at once.

mod duration;
mod faults;
mod flags;

use std::{net::IpAddr, path::PathBuf};

use crate::{
    admin::{self, Address},
    drain::{Plan, TellListeners, WaitFor},
    listeners::ListenerRef,
};

use faults::Faults;

/// The port that Contour made the usual one.
pub const DEFAULT_PORT: u16 = 8090;
/// Envoy's admin port in most configurations.
pub const DEFAULT_ADMIN_PORT: u16 = 9901;
/// Where the kubelet takes the termination message from, unless the container says otherwise.
pub const DEFAULT_TERMINATION_LOG: &str = "/dev/termination-log";
/// The name of the one Envoy that has none.
pub const DEFAULT_ENVOY: &str = "envoy";

/// A checked configuration. Nothing of it has been bound, opened or asked yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What to do.
    pub command: Command,
    /// The Envoys of this pod, at least one, each name once.
    pub envoys: Vec<EnvoyAt>,
    /// The port to serve on.
    pub port: u16,
    /// The address to serve on; `None` is every address of both families.
    pub bind: Option<IpAddr>,
    /// Whether the pod shares its node's network.
    pub host_network: bool,
    /// How to drain.
    pub plan: Plan,
    /// Listeners that do not count at all.
    pub exclude: Vec<ListenerRef>,
    /// Listeners whose arrivals do not extend the quiet time.
    pub quietened: Vec<ListenerRef>,
    /// What a caller of `/shutdown` and `/wait` must send.
    pub token: Option<Token>,
    /// A file to write when drained.
    pub ready_file: Option<PathBuf>,
    /// Where the report goes as termination message.
    pub termination_log: PathBuf,
    /// How much to log.
    pub log_level: tracing::Level,
    /// In which form to log.
    pub log_format: LogFormat,
    /// What is to be said about the configuration without refusing it.
    pub notes: Vec<String>,
}

/// What the program was called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve the hooks.
    Serve,
    /// Ask the local server to drain (all Envoys, or the named one) and wait.
    Shutdown(Option<String>),
}

/// One Envoy: its name in `/shutdown/NAME`, and its admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyAt {
    /// The name, usually that of its container.
    pub name: String,
    /// The admin interface.
    pub admin: Address,
}

/// The shared secret of the hooks. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `--help` or `--version` was asked for: the text for standard output.
    #[error("{0}")]
    Told(String),
    /// The configuration is wrong: every fault of it.
    #[error("{}", .0.join("\n"))]
    Faults(Vec<String>),
}

impl Settings {
    /// Reads and checks a command line (without the program's name) over the variables of an
    /// environment. The process itself is not looked at, so that whoever writes such a
    /// configuration can test that it is accepted.
    ///
    /// # Errors
    ///
    /// All faults of the configuration at once, each naming the flag and its variable, the value
    /// and what is allowed.
    pub fn read(
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let given = flags::read(arguments.into_iter().collect(), environment).map_err(|error| {
            if error.use_stderr() {
                let text = error.render().to_string();
                SettingsError::Faults(vec![faults::one_line(&text)])
            } else {
                SettingsError::Told(error.render().to_string())
            }
        })?;
        check(given)
    }
}

impl Token {
    /// Whether this is the token, in a time that does not tell how much of it was right.
    pub fn matches(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(other).into()
    }

    /// The token itself, for the request header of a client.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

fn check(given: flags::Given) -> Result<Settings, SettingsError> {
    let flags = given.flags;
    let mut faults = Faults::new(&given.from_environment);

    let command = command(flags.verb, flags.name, &mut faults);
    let envoys = envoys(flags.admin, flags.admin_port, &mut faults);
    let port = faults.port("port", flags.port, DEFAULT_PORT);
    let host_network = faults.choice(
        "host-network",
        flags.host_network,
        false,
        &[("true", true), ("false", false), ("1", true), ("0", false)],
    );
    let loopback = host_network.then_some(IpAddr::from([127, 0, 0, 1]));
    let bind = faults
        .parsed("bind", flags.bind, "an IP address", |text| {
            text.trim_matches(['[', ']']).parse::<IpAddr>().ok()
        })
        .map_or(loopback, |ip| (ip != IpAddr::from([0u16; 8])).then_some(ip));

    let defaults = Plan::default();
    let timeout = faults.duration("drain-timeout", flags.drain_timeout, defaults.timeout);
    let plan = Plan {
        wait_for: faults.choice(
            "wait-for",
            flags.wait_for,
            WaitFor::Quiet,
            &[
                ("quiet", WaitFor::Quiet),
                ("connections", WaitFor::Connections),
            ],
        ),
        timeout,
        delay: faults.duration("drain-delay", flags.drain_delay, defaults.delay),
        min_drain: faults.duration("min-drain", flags.min_drain, defaults.min_drain),
        quiet: faults.duration("quiet", flags.quiet, defaults.quiet),
        idle_quiet: faults.duration("idle-quiet", flags.idle_quiet, defaults.idle_quiet),
        arrivals_timeout: faults.duration(
            "arrivals-timeout",
            flags.arrivals_timeout,
            defaults.arrivals_timeout,
        ),
        upgrade_timeout: faults.duration("upgrade-timeout", flags.upgrade_timeout, timeout),
        check_delay: faults.duration("check-delay", flags.check_delay, defaults.check_delay),
        check_interval: faults.duration(
            "check-interval",
            flags.check_interval,
            defaults.check_interval,
        ),
        min_open: faults
            .parsed(
                "min-open-connections",
                flags.min_open_connections,
                "a whole number",
                |text| text.parse().ok(),
            )
            .unwrap_or(defaults.min_open),
        tell_listeners: faults.choice(
            "drain-listeners",
            flags.drain_listeners,
            defaults.tell_listeners,
            &[
                ("auto", TellListeners::Auto),
                ("always", TellListeners::Always),
                ("never", TellListeners::Never),
            ],
        ),
        // On the node's network the table would show the node's connections, not the pod's.
        sockets: !host_network,
    };
    faults.check_bounds(&plan);

    let exclude = listeners(flags.exclude_listeners);
    let quietened = listeners(flags.quietened_listeners);
    let token = faults.parsed(
        "token",
        flags.token,
        "printable ASCII without spaces",
        |text| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic())
                .then(|| Token(text.to_owned()))
        },
    );
    let log_level = faults.choice(
        "log-level",
        flags.log_level.map(|level| level.to_lowercase()),
        tracing::Level::INFO,
        &[
            ("error", tracing::Level::ERROR),
            ("warn", tracing::Level::WARN),
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("trace", tracing::Level::TRACE),
        ],
    );
    let log_format = faults.choice(
        "log-format",
        flags.log_format,
        LogFormat::Text,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    );

    faults.none_or(Settings {
        command,
        envoys,
        port,
        bind,
        host_network,
        plan,
        exclude,
        quietened,
        token,
        ready_file: flags.ready_file.map(PathBuf::from),
        termination_log: flags
            .termination_log
            .map_or_else(|| PathBuf::from(DEFAULT_TERMINATION_LOG), PathBuf::from),
        log_level,
        log_format,
        notes: given.notes,
    })
}

fn command(verb: Option<String>, name: Option<String>, faults: &mut Faults<'_>) -> Command {
    match (verb.as_deref(), name) {
        (None | Some("serve"), None) => Command::Serve,
        (Some("shutdown"), name) => Command::Shutdown(name),
        (Some("serve"), Some(name)) => {
            faults.add(format!("serve takes no argument, but got {name:?}"));
            Command::Serve
        }
        (Some(other), _) => {
            faults.add(format!(
                "{other:?} is no command: use serve (the default) or shutdown"
            ));
            Command::Serve
        }
        (None, Some(_)) => Command::Serve, // clap fills the first argument first
    }
}

fn envoys(admin: Option<String>, port: Option<String>, faults: &mut Faults<'_>) -> Vec<EnvoyAt> {
    // A flag beats a variable, here across the two names of one setting.
    let (admin, port) = match (admin, port) {
        (Some(_), Some(port)) if faults.only_first_is_variable("admin", "admin-port") => {
            (None, Some(port))
        }
        (Some(admin), Some(_)) if faults.only_first_is_variable("admin-port", "admin") => {
            (Some(admin), None)
        }
        (Some(admin), Some(port)) => {
            faults.add(format!(
                "--admin {admin:?} and --admin-port {port:?} both say where Envoy's admin \
                 interface is: leave one out"
            ));
            (Some(admin), None)
        }
        one => one,
    };
    if let Some(port) = port {
        let port = faults.port("admin-port", Some(port), DEFAULT_ADMIN_PORT);
        return vec![EnvoyAt {
            name: DEFAULT_ENVOY.to_owned(),
            admin: Address::loopback(port),
        }];
    }
    let text = admin.unwrap_or_else(|| DEFAULT_ADMIN_PORT.to_string());
    match admin::parse_addresses(&text) {
        Ok(envoys) => envoys
            .into_iter()
            .map(|(name, admin)| EnvoyAt {
                name: name.unwrap_or_else(|| DEFAULT_ENVOY.to_owned()),
                admin,
            })
            .collect(),
        Err(wrong) => {
            for fault in wrong {
                faults.wrong("admin", &fault);
            }
            Vec::new()
        }
    }
}

/// Names, stat names and ports of listeners. Any text can be a name.
fn listeners(value: Option<String>) -> Vec<ListenerRef> {
    let value = value.unwrap_or_default();
    let texts = value
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    texts.map(ListenerRef::new).collect()
}

#[cfg(test)]
mod tests;
