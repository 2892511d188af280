//! Which cluster is asked, as kubectl's users say it.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cli::exit::{Exit, Failure};

/// Which cluster.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "The cluster that is asked")]
pub(in crate::cli) struct AccessArgs {
    /// The kubeconfig, instead of those that KUBECONFIG names or `~/.kube/config`; inside of a pod
    /// with none of them, its own service account
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(in crate::cli) kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context, instead of its current one
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) context: Option<String>,
}

impl AccessArgs {
    /// Whether anything was said.
    pub(in crate::cli) fn is_said(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// A client for the cluster. Nothing is asked yet.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read, or has no such context.
    pub(in crate::cli) async fn client(&self) -> Result<Client, Failure> {
        drainhook_certs::install();
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|error| wrong(&error))?
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| wrong(&error))?,
            None => Config::infer().await.map_err(|error| wrong(&error))?,
        };
        Client::try_from(config).map_err(|error| wrong(&error))
    }
}

fn wrong(error: &dyn std::error::Error) -> Failure {
    let message = format!(
        "no cluster to ask: {} (set KUBECONFIG, or say --kubeconfig and --context)",
        in_full(error)
    );
    Failure::new(Exit::Usage, message)
}

/// An error with all of its causes: the first line of kube's alone says little.
pub(in crate::cli) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        cause = error.source();
    }
    text
}
