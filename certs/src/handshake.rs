//! A real TLS handshake with oneself, in memory, that says whether clients would accept what is
//! served.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ResolvesServerCert;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    ServerConnection, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::certificate::Certificate;
use crate::provider::provider;
use crate::served::server_config;

/// What the client of the handshake asks for.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// A chain to one of these CAs, for this name: what an API server does with a `caBundle`.
    Chain {
        /// The published CAs. One that is not valid now counts for nothing, as in Go, although
        /// webpki takes trust anchors without looking at their dates.
        bundle: &'a [Certificate],
        /// The name of the server.
        name: &'a str,
    },
    /// Exactly this certificate, where nobody knows what is published.
    Exactly(&'a CertificateDer<'static>),
}

/// Why the handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Nothing is published that is valid now.
    #[error("no CA is published that is valid now")]
    NothingPublished,
    /// The name is no name.
    #[error("{0:?} is not a server name")]
    Name(String),
    /// TLS refused.
    #[error("the handshake with itself failed: {0}")]
    Tls(#[from] rustls::Error),
    /// The two ends wait for each other.
    #[error("the handshake with itself does not come to an end")]
    Stuck,
}

/// Shakes hands with what `resolver` serves, as a client does whose clock shows `now`.
///
/// # Errors
/// Whatever an API server would see, see [`HandshakeError`].
pub fn verify(
    resolver: Arc<dyn ResolvesServerCert>,
    expected: Expected<'_>,
    now: SystemTime,
) -> Result<(), HandshakeError> {
    let (verifier, name): (Arc<dyn ServerCertVerifier>, _) = match expected {
        Expected::Chain { bundle, name } => (chain_verifier(bundle, now)?, name),
        Expected::Exactly(certificate) => (Arc::new(Exactly(certificate.clone())), "localhost"),
    };
    let name =
        ServerName::try_from(name.to_owned()).map_err(|_| HandshakeError::Name(name.to_owned()))?;
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Moment(now)))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who may call is not in question here.
    let server = ServerConnection::new(Arc::new(server_config(resolver, None)?))?;
    shake(ClientConnection::new(Arc::new(config), name)?, server)
}

/// The moment at which a client looks at certificates.
#[derive(Debug)]
pub(crate) struct Moment(pub(crate) SystemTime);

impl TimeProvider for Moment {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH);
        since.ok().map(UnixTime::since_unix_epoch)
    }
}

fn chain_verifier(
    bundle: &[Certificate],
    now: SystemTime,
) -> Result<Arc<WebPkiServerVerifier>, HandshakeError> {
    let mut roots = RootCertStore::empty();
    for certificate in bundle
        .iter()
        .filter(|certificate| certificate.validity.contains(now))
    {
        roots.add(certificate.der.clone())?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|_| HandshakeError::NothingPublished)
}

fn shake(mut client: ClientConnection, mut server: ServerConnection) -> Result<(), HandshakeError> {
    // TLS 1.3 takes two, TLS 1.2 three.
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        let mut wire = Vec::new();
        while client.wants_write() {
            client
                .write_tls(&mut wire)
                .map_err(|_| HandshakeError::Stuck)?;
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server
                .read_tls(&mut rest)
                .map_err(|_| HandshakeError::Stuck)?;
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server
                .write_tls(&mut wire)
                .map_err(|_| HandshakeError::Stuck)?;
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client
                .read_tls(&mut rest)
                .map_err(|_| HandshakeError::Stuck)?;
            client.process_new_packets()?;
        }
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
    }
    Err(HandshakeError::Stuck)
}

/// Accepts one certificate, and only from who holds its key.
#[derive(Debug)]
struct Exactly(CertificateDer<'static>);

impl ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
