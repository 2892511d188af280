//! An API server that learns of a changed `caBundle` almost too late.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use drainhook_certs::provider;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::world::{Replica, World};

/// Verifies by the oldest `caBundle` by which the overlap lets it.
pub(super) struct Latecomer {
    overlap: Duration,
    /// Bundles, and a moment before they were read: each was published then or later.
    read: VecDeque<(Instant, String)>,
    /// How often it verified by a bundle that was older than half of the overlap.
    pub(super) late: usize,
    pub(super) failed: Vec<String>,
}

impl Latecomer {
    pub(super) fn new(overlap: Duration) -> Self {
        Self {
            overlap,
            read: VecDeque::new(),
            late: 0,
            failed: Vec::new(),
        }
    }

    /// Reads the bundle for later, and calls all replicas by an earlier one.
    pub(super) async fn call(&mut self, world: &World) {
        let began = Instant::now();
        let bundle = world.bundles().await.swap_remove(0);
        self.read.push_back((began, bundle));
        while self
            .read
            .front()
            .is_some_and(|(at, _)| at.elapsed() >= self.overlap)
        {
            self.read.pop_front();
        }
        // On a machine that is too busy for one that is in time there is nothing to be learned.
        let Some((at, bundle)) = self.read.front() else {
            return;
        };
        for replica in &world.replicas {
            let shaken = shake_hands(replica, bundle).await;
            let age = at.elapsed();
            if age >= self.overlap {
                return;
            }
            self.late += usize::from(age > self.overlap / 2);
            let failed = shaken.err();
            self.failed
                .extend(failed.map(|error| format!("after {age:?}: {error:#}")));
        }
    }
}

async fn shake_hands(replica: &Replica, bundle: &str) -> Result<()> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(replica.address).await?;
    let name = ServerName::try_from("localhost")?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    Ok(())
}
