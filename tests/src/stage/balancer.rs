//! A load balancer in front of the nodes, for pods on the host network: it knows no Service.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::sleep};

use super::Witness;
use crate::{endpoints::Endpoints, load::Balancer};

/// How late it learns that a pod ends.
const LEARNS_AFTER: Duration = Duration::from_secs(2);

/// How often it looks.
const POLL: Duration = Duration::from_millis(50);

/// Spreads new connections over the nodes whose pod is ready. It learns of a new pod at once and of
/// the end of one two seconds late.
#[derive(Debug)]
pub struct NodeBalancer {
    endpoints: Endpoints,
    task: JoinHandle<()>,
}

impl NodeBalancer {
    /// Over the pods that `witness` sees, at this port of their nodes.
    pub(super) fn new(witness: Arc<Witness>, port: u16) -> Self {
        let endpoints = Endpoints::new(LEARNS_AFTER);
        let task = tokio::spawn(follow(witness, port, endpoints.clone()));
        Self { endpoints, task }
    }
}

impl Balancer for NodeBalancer {
    fn choose(&self) -> Option<SocketAddr> {
        self.endpoints.choose()
    }
}

impl Drop for NodeBalancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(witness: Arc<Witness>, port: u16, endpoints: Endpoints) {
    let mut known = BTreeSet::new();
    loop {
        for life in witness.lives() {
            let Some(address) = life.address else {
                continue;
            };
            let endpoint = SocketAddr::new(address, port);
            let serves = life.deleted.is_none() && life.is_ready();
            if serves && known.insert(life.name().to_owned()) {
                endpoints.add(endpoint);
            } else if !serves && known.remove(life.name()) {
                endpoints.terminating(endpoint);
            }
        }
        sleep(POLL).await;
    }
}
