//! Load from inside of a network namespace.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use tokio::{sync::oneshot, task::JoinHandle};

use super::Namespace;
use crate::load::{Balancer, Count, Load, Mix, Record, Recorder, Target};

/// A load that comes from a namespace: from a node, where Services are routed as for any process on
/// it, or from the network around the nodes, as a load balancer's does.
#[derive(Debug)]
pub struct Traffic {
    recorder: Arc<Recorder>,
    stop: oneshot::Sender<()>,
    record: JoinHandle<Result<Record>>,
}

impl Traffic {
    /// Starts the clients of `mix` in the namespace, against one address (such as a Service's) or
    /// those of a balancer. They go on until [`Traffic::stop`].
    ///
    /// # Errors
    /// When no thread can be started in the namespace.
    pub async fn start(
        namespace: &Namespace,
        balancer: impl Balancer,
        target: &Target,
        mix: Mix,
    ) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (started, recorder) = oneshot::channel();
        let (namespace, target) = (namespace.clone(), target.clone());
        let clients = async move || {
            let load = Load::start(Arc::new(balancer), &target, mix);
            // Nobody waits for it any more where the start was given up.
            let _ = started.send(Arc::clone(load.recorder()));
            // Dropping the traffic stops it too.
            let _ = stopped.await;
            load.stop().await
        };
        let record = tokio::spawn(async move { namespace.run(clients).await });
        let recorder = recorder
            .await
            .context("the load did not start in its namespace")?;
        Ok(Self {
            recorder,
            stop,
            record,
        })
    }

    /// What was counted so far.
    pub fn count(&self) -> Count {
        self.recorder.count()
    }

    /// What was seen since a moment.
    pub fn record_since(&self, moment: Instant) -> Record {
        self.recorder.record_since(moment)
    }

    /// Stops the clients, each after its answer, and returns what they saw.
    ///
    /// # Errors
    /// When the thread in the namespace panicked.
    pub async fn stop(self) -> Result<Record> {
        drop(self.stop);
        self.record.await.context("the load panicked")?
    }
}
