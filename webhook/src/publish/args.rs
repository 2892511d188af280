//! The flags of `drainhook certs`, each with an environment variable of its name.

use std::{net::IpAddr, process::ExitCode};

use clap::Args;
use drainhook_certs::ConfigurationName;

use super::run;
use crate::{AuthorityArgs, serve::Format};

/// Keep the CA of `drainhook serve --certs self`: make it, rotate it, and write it into the
/// `caBundle` of every webhook. Any number of replicas may run at once.
#[derive(Args, Clone, Debug)]
pub struct CertsArgs {
    /// The CA
    #[command(flatten)]
    pub authority: AuthorityArgs,

    /// MutatingWebhookConfigurations whose `caBundle`s are kept, every entry of each
    #[arg(
        long,
        env = "DRAINHOOK_MUTATING",
        default_value = "drainhook",
        value_delimiter = ',',
        value_name = "NAME,..."
    )]
    pub mutating: Vec<String>,

    /// ValidatingWebhookConfigurations whose `caBundle`s are kept, every entry of each
    #[arg(
        long,
        env = "DRAINHOOK_VALIDATING",
        default_value = "drainhook",
        value_delimiter = ',',
        value_name = "NAME,..."
    )]
    pub validating: Vec<String>,

    /// Address of the port. `::` is every address of both families, and `0.0.0.0` is taken where
    /// there is no IPv6
    #[arg(long, env = "DRAINHOOK_BIND", default_value = "::", value_name = "IP")]
    pub bind: IpAddr,

    /// Port of `/livez`, `/readyz` and `/metrics`; 0 lets the system choose
    #[arg(long, env = "DRAINHOOK_PLAIN_PORT", default_value_t = 8080)]
    pub plain_port: u16,

    /// The form of the log's lines
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

impl CertsArgs {
    /// Publishes until a signal asks for the end.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match run::run(self) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("drainhook certs: {error}");
                ExitCode::from(error.exit_status())
            }
        }
    }

    /// The configurations that are kept. An empty name, as a chart leaves behind where there is
    /// none, names nothing.
    pub(super) fn configurations(&self) -> Vec<ConfigurationName> {
        let named = |names: &[String]| {
            let names = names.iter().map(|name| name.trim().to_owned());
            names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
        };
        let mutating = named(&self.mutating)
            .into_iter()
            .map(ConfigurationName::Mutating);
        let validating = named(&self.validating)
            .into_iter()
            .map(ConfigurationName::Validating);
        mutating.chain(validating).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CertsArgs,
    }

    #[test]
    fn configurations_are_named_by_list_or_by_repetition_and_empty_names_are_none() {
        let line = [
            "certs",
            "--mutating",
            "a,b",
            "--mutating",
            "c",
            "--validating",
            "",
        ];
        let args = Line::parse_from(line).args;
        let expected = ["a", "b", "c"].map(|name| ConfigurationName::Mutating(name.to_owned()));
        assert_eq!(args.configurations(), expected);
        let both = Line::parse_from(["certs"]).args.configurations();
        assert_eq!(
            both,
            [
                ConfigurationName::Mutating("drainhook".to_owned()),
                ConfigurationName::Validating("drainhook".to_owned()),
            ]
        );
    }
}
