//! Why a server ends otherwise than it should, and with which exit status.

use std::{borrow::Cow, io};

use drainhook_certs::{LifetimesError, NameError};
use thiserror::Error;

/// Why the server did not start or did not end well.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    /// Exit status 64: somebody has to change a flag.
    #[error("--log-level {filter:?}: {error}")]
    LogLevel {
        /// What was written.
        filter: String,
        /// What is wrong with it.
        error: tracing_subscriber::filter::ParseError,
    },
    /// Exit status 64: somebody has to change a flag.
    #[error("--certs self needs the cluster, where its CA is kept: {0}")]
    SelfManagedWithoutCluster(NoCluster),
    /// Exit status 64: somebody has to change a flag.
    #[error("--service, --namespace, --cluster-domain: {0}")]
    Name(#[from] NameError),
    /// Exit status 64: somebody has to change a flag.
    #[error("the lifetimes of CA and certificates do not fit together: {0}")]
    Lifetimes(#[from] LifetimesError),
    /// The system refused something.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// The cluster's configuration cannot be read.
    #[error("cannot use the cluster: {0}")]
    Cluster(String),
    /// No kubeconfig is named, and the pod has no token of a ServiceAccount, or not all that goes with it.
    #[error("cannot use the cluster: {0}")]
    NoAccount(String),
    /// The TLS library refused its configuration.
    #[error("cannot set TLS up: {0}")]
    Tls(#[from] rustls::Error),
    /// Part of the server is gone, and what it kept fresh would grow stale: a new process is better.
    #[error("a part of the server ended, which none ever should: {0}")]
    PartEnded(String),
    /// Asked for by a second signal.
    #[error("a second signal ended the server before it was done")]
    Aborted,
}

/// Why no cluster is asked.
pub(crate) type NoCluster = Cow<'static, str>;

impl ServeError {
    /// The exit status: 64 (EX_USAGE) where flags are wrong, 69 (EX_UNAVAILABLE) for what may go
    /// better at the next attempt, 70 (EX_SOFTWARE) for a defect.
    #[must_use]
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::LogLevel { .. }
            | Self::SelfManagedWithoutCluster(_)
            | Self::Name(_)
            | Self::Lifetimes(_) => 64,
            Self::System { .. } | Self::Cluster(_) | Self::NoAccount(_) | Self::Tls(_) => 69,
            Self::PartEnded(_) => 70,
            Self::Aborted => 1,
        }
    }
}

pub(crate) fn system(what: &str) -> impl FnOnce(io::Error) -> ServeError {
    let what = what.to_owned();
    move |error| ServeError::System { what, error }
}
