//! The flags of `drainhook serve`, each with an environment variable of its name.

use std::{net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};

use super::{api::Limits, log::Format, server};
use crate::{AuthorityArgs, KubernetesVersion};

/// Serve the admission webhook: `/mutate` and `/warn` on the TLS port, health and metrics on the
/// plain one.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address of both ports. `::` is every address of both families, and `0.0.0.0` is taken where
    /// there is no IPv6
    #[arg(long, env = "DRAINHOOK_BIND", default_value = "::", value_name = "IP")]
    pub bind: IpAddr,

    /// TLS port of `/mutate` and `/warn`; 0 lets the system choose
    #[arg(long, env = "DRAINHOOK_PORT", default_value_t = 8443)]
    pub port: u16,

    /// Plain port of `/livez`, `/readyz` and `/metrics`; 0 lets the system choose
    #[arg(long, env = "DRAINHOOK_PLAIN_PORT", default_value_t = 8080)]
    pub plain_port: u16,

    /// Where the certificate comes from
    #[arg(long, env = "DRAINHOOK_CERTS", value_enum, default_value_t)]
    pub certs: Certs,

    /// The CA of `--certs self`
    #[command(flatten)]
    pub authority: AuthorityArgs,

    /// The Service by which the API server calls. The certificate of `--certs self` is for it
    /// [default: drainhook]; with `--certs files` and a `ca.crt` beside the certificate, the server is
    /// not ready before it has one for it
    #[arg(long, env = "DRAINHOOK_SERVICE", value_name = "NAME")]
    pub service: Option<String>,

    /// The cluster's DNS domain
    #[arg(
        long,
        env = "DRAINHOOK_CLUSTER_DOMAIN",
        default_value = "cluster.local",
        value_name = "NAME"
    )]
    pub cluster_domain: String,

    /// Chain in PEM, the server's own certificate first. A change is loaded while serving
    #[arg(
        long,
        env = "DRAINHOOK_CERT",
        value_name = "FILE",
        required_if_eq("certs", "files")
    )]
    pub cert: Option<PathBuf>,

    /// Key in PEM
    #[arg(
        long,
        env = "DRAINHOOK_KEY",
        value_name = "FILE",
        required_if_eq("certs", "files")
    )]
    pub key: Option<PathBuf>,

    /// Only clients with a certificate of this CA (PEM) may call. Needs an API server that is
    /// configured to show one
    #[arg(long, env = "DRAINHOOK_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// Of those clients only the ones whose certificate has this common name (CN) may call; can be
    /// given several times
    #[arg(
        long,
        env = "DRAINHOOK_CLIENT_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "client_ca"
    )]
    pub client_name: Vec<String>,

    /// The installation's defaults of the annotations: a YAML map from their names to values.
    /// A change is loaded while serving
    #[arg(long, env = "DRAINHOOK_DEFAULTS", value_name = "FILE")]
    pub defaults: Option<PathBuf>,

    /// Whether pods and namespaces may choose the sidecar's image
    #[arg(long, env = "DRAINHOOK_IMAGE_CHOICE", value_enum, default_value_t)]
    pub image_choice: Choice,

    /// What becomes of a pod with a key under our prefix that is not known
    #[arg(long, env = "DRAINHOOK_UNKNOWN_KEYS", value_enum, default_value_t)]
    pub unknown_keys: UnknownKeysArg,

    /// Whether the cluster is asked for namespaces and its version. `auto`: where there is one, which
    /// is inside of a pod or with KUBECONFIG set
    #[arg(long, env = "DRAINHOOK_CLUSTER", value_enum, default_value_t)]
    pub cluster: ClusterUse,

    /// The cluster's version, such as 1.32, instead of asking the API server
    #[arg(long, env = "DRAINHOOK_KUBERNETES_VERSION", value_name = "VERSION")]
    pub kubernetes_version: Option<KubernetesVersion>,

    /// How long to go on serving once asked to end, while the word spreads
    #[arg(long, env = "DRAINHOOK_STOP_DELAY", default_value = "5s", value_parser = duration)]
    pub stop_delay: Duration,

    /// How long requests under way may take after that
    #[arg(long, env = "DRAINHOOK_STOP_TIMEOUT", default_value = "12s", value_parser = duration)]
    pub stop_timeout: Duration,

    /// Connections at once. No peer gets more than what is free, so one alone has half of them
    #[arg(long, env = "DRAINHOOK_MAX_CONNECTIONS", default_value_t = 1024)]
    pub max_connections: u64,

    /// Requests at once, shared in the same way
    #[arg(long, env = "DRAINHOOK_MAX_REQUESTS", default_value_t = Limits::default().requests)]
    pub max_requests: u64,

    /// Memory for bodies and what is made of them, in MiB, shared in the same way. One review may take
    /// half of it: with 64 that is a pod of some 700 kB of JSON, or a body of 7 MiB of plain text
    #[arg(
        long,
        env = "DRAINHOOK_MAX_BODY_MEMORY",
        value_name = "MIB",
        default_value_t = Limits::default().bytes / MIB,
        value_parser = clap::value_parser!(u64).range(16..=65536),
    )]
    pub max_body_memory: u64,

    /// One line per decision, in this form
    #[arg(long, env = "DRAINHOOK_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: Format,

    /// error, warn, info, debug or trace, or a filter of the crate tracing-subscriber
    #[arg(
        long,
        env = "DRAINHOOK_LOG_LEVEL",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log_level: String,
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Certs {
    /// Minted here from the CA that `drainhook certs` keeps in a Secret.
    #[default]
    #[value(name = "self")]
    SelfManaged,
    /// From `--cert` and `--key`.
    Files,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Choice {
    /// They may.
    Allow,
    /// They may not.
    #[default]
    Deny,
}

/// What becomes of a pod with an unknown key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum UnknownKeysArg {
    /// It is refused.
    #[default]
    Deny,
    /// Its author is warned: for a rollback, when pods with keys of a newer version are there.
    Warn,
}

/// Whether the cluster is asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum ClusterUse {
    /// Where there is one.
    #[default]
    Auto,
    /// Never.
    Off,
}

const MIB: u64 = 1024 * 1024;

impl ServeArgs {
    /// Serves until a signal asks for the end.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match server::run(self) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("drainhook serve: {error}");
                ExitCode::from(error.exit_status())
            }
        }
    }

    /// What may be under way at once.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            requests: self.max_requests,
            bytes: self.max_body_memory * MIB,
        }
    }
}

fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}
