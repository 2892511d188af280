//! A balancer that learns late, as kube-proxy does.
//!
//! When a pod begins to terminate, the kubelet calls its hooks at once, and at the same time the
//! news travels through the API server and the endpoint controller to every node's kube-proxy,
//! ingress controller and cloud load balancer. Until it has arrived, new connections go on to be
//! sent to the pod. Connections that are there stay where they are, before and after.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::sleep;

use crate::load::Balancer;

/// The endpoints that new connections are spread over, at random.
#[derive(Clone, Debug)]
pub struct Endpoints {
    learns_after: Duration,
    known: Arc<RwLock<Vec<SocketAddr>>>,
}

impl Endpoints {
    /// No endpoint yet. The end of one is learnt so late.
    pub fn new(learns_after: Duration) -> Self {
        Endpoints {
            learns_after,
            known: Arc::default(),
        }
    }

    /// An endpoint is ready. This is learnt at once: nobody is hurt where it comes late.
    pub fn add(&self, endpoint: SocketAddr) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(endpoint);
    }

    /// An endpoint terminates, which will be learnt.
    pub fn terminating(&self, endpoint: SocketAddr) {
        let endpoints = self.clone();
        tokio::spawn(async move {
            sleep(endpoints.learns_after).await;
            endpoints
                .known
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|known| *known != endpoint);
        });
    }
}

impl Balancer for Endpoints {
    fn choose(&self) -> Option<SocketAddr> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (!known.is_empty()).then(|| known[fastrand::usize(..known.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_terminating_endpoint_is_chosen_until_its_end_is_learnt() {
        let endpoints = Endpoints::new(Duration::from_secs(3));
        let (old, new) = (
            "127.0.0.2:1".parse().unwrap(),
            "127.0.0.3:1".parse().unwrap(),
        );
        assert_eq!(endpoints.choose(), None);
        endpoints.add(old);
        endpoints.add(new);
        endpoints.terminating(old);
        sleep(Duration::from_millis(2_900)).await;
        assert!((0..1_000).any(|_| endpoints.choose() == Some(old)));
        sleep(Duration::from_millis(200)).await;
        assert!((0..1_000).all(|_| endpoints.choose() == Some(new)));
    }
}
