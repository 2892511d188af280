//! What pods call outside of themselves, played by the tests.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use crate::address::Loopback;
use crate::load::Upstream;

/// Upstreams at one address that is no pod's, on the ports that pods call. They outlive the pods.
#[derive(Debug)]
pub struct Outside {
    address: Loopback,
    upstreams: Mutex<HashMap<SocketAddr, Upstream>>,
}

impl Outside {
    /// Claims an address; nothing answers there yet.
    ///
    /// # Errors
    /// Where none is free.
    pub fn claim() -> Result<Self> {
        Ok(Outside {
            address: Loopback::claim()?,
            upstreams: Mutex::default(),
        })
    }

    /// The address.
    pub fn ip(&self) -> IpAddr {
        IpAddr::V4(self.address.ip())
    }

    /// Sees to it that somebody answers at these addresses.
    pub(super) async fn play(&self, addresses: &BTreeSet<SocketAddr>) -> Result<()> {
        let mut upstreams = self.upstreams.lock().await;
        for address in addresses {
            if !upstreams.contains_key(address) {
                let upstream = Upstream::start(*address).await;
                let upstream = upstream.with_context(|| format!("play the upstream {address}"))?;
                upstreams.insert(*address, upstream);
            }
        }
        Ok(())
    }
}
