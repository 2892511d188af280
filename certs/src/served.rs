//! What is served now, swapped under open connections without touching them.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::provider::provider;

/// The certificate that new handshakes get. Replacing it is one atomic store: handshakes under
/// way finish with the one they began with, and open connections never look at it again.
#[derive(Default)]
pub struct Served(ArcSwapOption<CertifiedKey>);

impl Served {
    /// Serves `key` from the next handshake on.
    pub fn replace(&self, key: Arc<CertifiedKey>) {
        self.0.store(Some(key));
    }

    /// What is served now; none before the first certificate came.
    #[must_use]
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Served")
            .field("any", &self.0.load().is_some())
            .finish()
    }
}

/// The TLS configuration of a webhook's server: TLS 1.2 and 1.3, HTTP/1.1 only.
///
/// API servers talk HTTP/1.1 to webhooks. Sessions are not resumed: Go's client keeps none, and a
/// resumed session would pass by the verification of the client.
///
/// # Errors
/// Where the provider does not support the protocol versions.
pub fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    }
    .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
