//! The flags about the self-managed CA that `drainhook serve` and `drainhook certs` share: both must
//! mean the same Secret and the same lifetimes.

use std::time::Duration;

use clap::Args;
use drainhook_certs::{Lifetimes, LifetimesError, SecretName};

/// Which CA, and how long it and what it signs live.
#[derive(Args, Clone, Debug)]
pub struct AuthorityArgs {
    /// Namespace of the installation, where the CA's Secret and the Service are
    #[arg(
        long,
        env = "DRAINHOOK_NAMESPACE",
        default_value = "drainhook",
        value_name = "NAME"
    )]
    pub namespace: String,

    /// The CA's Secret
    #[arg(
        long,
        env = "DRAINHOOK_SECRET",
        default_value = "drainhook-ca",
        value_name = "NAME"
    )]
    pub secret: String,

    /// How long a CA is valid
    #[arg(long, env = "DRAINHOOK_CA_LIFETIME", value_name = "DURATION", value_parser = duration)]
    pub ca_lifetime: Option<Duration>,

    /// How old a CA becomes before the next one takes over
    #[arg(long, env = "DRAINHOOK_CA_ROTATION", value_name = "DURATION", value_parser = duration)]
    pub ca_rotation: Option<Duration>,

    /// How long a new CA is published before it signs
    #[arg(long, env = "DRAINHOOK_CA_OVERLAP", value_name = "DURATION", value_parser = duration)]
    pub ca_overlap: Option<Duration>,

    /// How long a server's certificate is valid
    #[arg(long, env = "DRAINHOOK_LEAF_LIFETIME", value_name = "DURATION", value_parser = duration)]
    pub leaf_lifetime: Option<Duration>,

    /// How old a server's certificate becomes before it is replaced
    #[arg(long, env = "DRAINHOOK_LEAF_RENEWAL", value_name = "DURATION", value_parser = duration)]
    pub leaf_renewal: Option<Duration>,

    /// How far before its making a certificate is valid, for clocks that are behind
    #[arg(long, env = "DRAINHOOK_BACKDATE", value_name = "DURATION", value_parser = duration)]
    pub backdate: Option<Duration>,
}

impl AuthorityArgs {
    /// The Secret.
    #[must_use]
    pub fn secret(&self) -> SecretName {
        SecretName {
            namespace: self.namespace.clone(),
            name: self.secret.clone(),
        }
    }

    /// The lifetimes: what was not said is the default.
    ///
    /// # Errors
    ///
    /// Where they do not fit together.
    pub fn lifetimes(&self) -> Result<Lifetimes, LifetimesError> {
        let usual = Lifetimes::default();
        Lifetimes {
            authority: self.ca_lifetime.unwrap_or(usual.authority),
            authority_rotation: self.ca_rotation.unwrap_or(usual.authority_rotation),
            overlap: self.ca_overlap.unwrap_or(usual.overlap),
            leaf: self.leaf_lifetime.unwrap_or(usual.leaf),
            leaf_renewal: self.leaf_renewal.unwrap_or(usual.leaf_renewal),
            backdate: self.backdate.unwrap_or(usual.backdate),
        }
        .validate()
    }
}

fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}
