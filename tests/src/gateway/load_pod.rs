//! The mixed load from a pod.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, LogParams},
};
use serde_json::json;

use super::restricted;
use crate::{
    cluster::{Access, Image},
    load::PATIENCE,
    wait::until,
};

/// Answers that the load must have before anything is done to the gateway: every kind of client has
/// begun by then.
const ENOUGH: u64 = 1_000;

/// Seconds after which Kubernetes kills the pod. Each client ends after its answer, for which it waits no
/// longer than [`PATIENCE`]; what it has seen is told then.
const GRACE: u64 = PATIENCE.as_secs() + 10;

/// The mixed load on a Service, from a pod of the cluster: `traffic send`.
#[derive(Debug)]
pub struct LoadPod {
    pods: Api<Pod>,
    name: String,
}

impl LoadPod {
    /// Starts it, and returns when a thousand requests were answered.
    ///
    /// # Errors
    /// When the pod does not run, or requests are not answered.
    pub async fn start(
        access: &Access,
        namespace: &str,
        tools: &Image,
        address: SocketAddr,
    ) -> Result<Self> {
        let name = "load".to_owned();
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": GRACE,
                "containers": [{
                    "name": "traffic",
                    "image": tools.reference(),
                    "args": ["send", address.to_string()],
                    "securityContext": restricted(),
                }],
            },
        });
        access.apply(&pod).await?;
        let load = Self {
            pods: Api::namespaced(access.client(), namespace),
            name,
        };
        let what = format!("{ENOUGH} answers");
        until(&what, async || {
            (load.answered().await.ok()? >= ENOUGH).then_some(())
        })
        .await?;
        Ok(load)
    }

    /// How many requests were answered until about now.
    ///
    /// # Errors
    /// When the pod's log cannot be read.
    pub async fn answered(&self) -> Result<u64> {
        let last = LogParams {
            tail_lines: Some(1),
            ..LogParams::default()
        };
        let line = self.pods.logs(&self.name, &last).await?;
        let number = line.split(' ').next().context("an empty log")?;
        number.parse().with_context(|| format!("read {line:?}"))
    }

    /// Stops the clients, each after its answer; returns how many requests there were, and a line
    /// for each that failed.
    ///
    /// # Errors
    /// When its log cannot be read to the end.
    pub async fn stop(self) -> Result<(u64, Vec<String>)> {
        let follow = LogParams {
            follow: true,
            ..LogParams::default()
        };
        // Before its end: its log goes with it.
        let mut log = Some(self.pods.log_stream(&self.name, &follow).await?);
        self.pods
            .delete(&self.name, &DeleteParams::default())
            .await?;
        // A stream may break off, and is begun anew for as long as there is a log.
        let told = until("the summary of the load", async || {
            let log = match log.take() {
                Some(log) => log,
                None => self.pods.log_stream(&self.name, &follow).await.ok()?,
            };
            let lines: Vec<String> = log.lines().try_collect().await.ok()?;
            let (number, _) = lines.last()?.split_once(" requests, ")?;
            Some((number.to_owned(), lines))
        });
        let (number, lines) = told.await?;
        let progress = |line: &String| line.ends_with(" answered");
        let end = lines.len() - 1;
        let failures = lines[..end].iter().filter(|line| !progress(line));
        let (number, failures) = (number.parse()?, failures.cloned().collect());
        until("the load's pod is gone", async || {
            self.pods
                .get_opt(&self.name)
                .await
                .ok()?
                .is_none()
                .then_some(())
        })
        .await?;
        Ok((number, failures))
    }
}
