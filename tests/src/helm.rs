//! An installation by the real Helm, as its users do it: install, upgrade, roll back, test, uninstall.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    cluster::{Access, Image},
    installation::{NAME, helm},
    product::workspace,
    wait::BOUND,
};

/// A release of a chart in a cluster. Nothing is installed until [`Release::install`], and nothing
/// uninstalls by itself.
#[derive(Debug)]
pub struct Release {
    kubeconfig: PathBuf,
    namespace: String,
    chart: PathBuf,
    // Helm's own configuration and caches: the user's are neither read nor changed.
    home: TempDir,
}

impl Release {
    /// Our chart, as release [`NAME`] in this namespace.
    ///
    /// # Errors
    /// When there is no place for Helm's files.
    pub fn new(access: &Access, namespace: &str) -> Result<Self> {
        Ok(Self {
            kubeconfig: access.kubeconfig().to_owned(),
            namespace: namespace.to_owned(),
            chart: workspace().join("manifests/chart"),
            home: TempDir::with_prefix("drainhook-helm-")?,
        })
    }

    /// The values that make the chart use these images, which are on the nodes.
    pub fn images(webhook: &Image, sidecar: &Image) -> [String; 3] {
        let reference = webhook.reference();
        let by_digest = reference.split_once('@');
        let (repository, which) = match (by_digest, reference.rsplit_once(':')) {
            (Some((repository, digest)), _) => (repository, format!("image.digest={digest}")),
            (None, Some((repository, tag))) => (repository, format!("image.tag={tag}")),
            (None, None) => (reference, "image.tag=latest".to_owned()),
        };
        [
            format!("image.repository={repository}"),
            which,
            format!("defaults.image={}", sidecar.reference()),
        ]
    }

    /// Takes another chart from now on: the next version's, or the one before.
    #[must_use]
    pub fn chart(mut self, chart: PathBuf) -> Self {
        self.chart = chart;
        self
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `helm install --wait`: returns when all that it runs is ready.
    ///
    /// # Errors
    /// When Helm fails, with its words.
    pub fn install<S: AsRef<str>>(&self, values: &[S]) -> Result<String> {
        self.put(&["install"], values)
    }

    /// `helm upgrade --wait`, with these values and no others.
    ///
    /// # Errors
    /// As [`Release::install`].
    pub fn upgrade<S: AsRef<str>>(&self, values: &[S]) -> Result<String> {
        self.put(&["upgrade"], values)
    }

    /// `helm upgrade --wait --reset-then-reuse-values`: with the values that it has, and these.
    ///
    /// # Errors
    /// As [`Release::install`].
    pub fn upgrade_with_its_values<S: AsRef<str>>(&self, values: &[S]) -> Result<String> {
        self.put(&["upgrade", "--reset-then-reuse-values"], values)
    }

    /// `helm rollback --wait` to a revision: 1 is the one that was installed.
    ///
    /// # Errors
    /// As [`Release::install`].
    pub fn roll_back(&self, revision: u32) -> Result<String> {
        let revision = revision.to_string();
        self.run(&["rollback", NAME, &revision, "--wait", "--timeout", &bound()])
    }

    /// `helm test`, with the logs of its pods.
    ///
    /// # Errors
    /// When a test of the chart fails.
    pub fn test(&self) -> Result<String> {
        self.run(&["test", NAME, "--logs", "--timeout", &bound()])
    }

    /// `helm uninstall --wait`: returns when everything is gone.
    ///
    /// # Errors
    /// When Helm fails, with its words.
    pub fn uninstall(&self) -> Result<String> {
        self.run(&["uninstall", NAME, "--wait", "--timeout", &bound()])
    }

    /// Whether it is installed, or was to be and failed.
    ///
    /// # Errors
    /// When Helm cannot ask the cluster.
    pub fn exists(&self) -> Result<bool> {
        match self.run(&["history", NAME]) {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("not found") => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn put<S: AsRef<str>>(&self, command: &[&str], values: &[S]) -> Result<String> {
        let chart = self.chart.display().to_string();
        let bound = bound();
        let mut arguments = command.to_vec();
        arguments.extend([NAME, &chart, "--wait", "--timeout", &bound]);
        for value in values {
            arguments.extend(["--set", value.as_ref()]);
        }
        self.run(&arguments)
    }

    /// Runs Helm in the release's namespace and returns what it said.
    ///
    /// # Errors
    /// When Helm fails, with its words.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(helm()?);
        command
            .args(arguments)
            .args(["--namespace", &self.namespace])
            .env("KUBECONFIG", &self.kubeconfig);
        for (variable, directory) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, self.home.path().join(directory));
        }
        let output = command.output().context("run helm")?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(
            output.status.success(),
            "helm {}: {said}",
            arguments.join(" ")
        );
        Ok(said)
    }
}

fn bound() -> String {
    format!("{}s", BOUND.as_secs())
}
