//! Verification of the client: only who has a certificate of this CA, and of a name that may, may call.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::certificate::Certificate;
use crate::files::look_every;
use crate::files::snapshot::{self, Contents};
use crate::provider::provider;
use crate::status::{Fault, Status};

/// The clients' CA: what verifies, and the work that keeps it fresh.
pub struct ClientAuthority {
    /// To hand to [`crate::server_config`]. Until the file could be read once it refuses everybody.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// To be polled for as long as the server serves. It never ends and no fault ends it.
    pub background: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl ClientAuthority {
    /// Verifies clients against the CAs in a PEM file, which is looked at every `interval`. On any
    /// fault the last good CAs hold; the fault is told to `status`.
    ///
    /// Where there are `names`, the certificate's common name (`CN`) must be one of them, as in the API
    /// server's own `--requestheader-allowed-names`: a CA may have signed for more than the API server.
    #[must_use]
    pub fn from_file(
        path: PathBuf,
        names: Vec<String>,
        interval: Duration,
        status: Status,
    ) -> Self {
        let verifier = Arc::new(Reloaded {
            inner: ArcSwapOption::empty(),
            names,
        });
        let mut file = AuthorityFile {
            path,
            status,
            read: None,
            verifier: Arc::clone(&verifier),
        };
        file.look();
        let background = look_every(interval, file, AuthorityFile::look);
        Self {
            verifier,
            background: Box::pin(background),
        }
    }
}

struct AuthorityFile {
    path: PathBuf,
    status: Status,
    read: Option<Contents>,
    verifier: Arc<Reloaded>,
}

impl AuthorityFile {
    fn look(&mut self) {
        match self.load() {
            Ok(()) => self.status.clear(Fault::ClientAuthority),
            Err(message) => {
                let path = self.path.display();
                self.status
                    .fault(Fault::ClientAuthority, format!("{path}: {message}"));
            }
        }
    }

    fn load(&mut self) -> Result<(), String> {
        let [contents] = snapshot::read([&self.path]).map_err(|error| error.to_string())?;
        if self.read.as_ref() == Some(&contents) {
            return Ok(());
        }
        let certificates = Certificate::parse_pem(&contents).map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.der.clone())
                .map_err(|error| error.to_string())?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| "no certificate in it".to_owned())?;
        self.verifier.inner.store(Some(Arc::new(verifier)));
        self.status.client_authority_loaded(certificates.len());
        self.read = Some(contents);
        Ok(())
    }
}

/// Asks whatever verifier was loaded last.
struct Reloaded {
    inner: ArcSwapOption<Arc<dyn ClientCertVerifier>>,
    /// Who may call of those whom the CA has signed for; empty for all.
    names: Vec<String>,
}

impl Reloaded {
    fn expect_name(&self, end_entity: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if self.names.is_empty() {
            return Ok(());
        }
        let certificate = Certificate::parse(end_entity.clone().into_owned())
            .map_err(|_| CertificateError::BadEncoding)?;
        match certificate.common_name {
            Some(name) if self.names.contains(&name) => Ok(()),
            name => {
                tracing::debug!(name, "a client of the right CA whose name may not call");
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }
}

impl ClientCertVerifier for Reloaded {
    /// None: the hints would have to be borrowed from what may be replaced meanwhile. A client
    /// with a certificate sends it without them.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = match &*self.inner.load() {
            Some(verifier) => verifier.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }?;
        self.expect_name(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl fmt::Debug for Reloaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = self.inner.load().is_some();
        formatter
            .debug_struct("Reloaded")
            .field("any", &any)
            .finish()
    }
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientAuthority")
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use rcgen::{
        CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };
    use rustls::{ClientConfig, ClientConnection, ServerConnection};
    use rustls_pki_types::{PrivateKeyDer, ServerName};

    use super::*;
    use crate::authority::Authority;
    use crate::certificate::armored;
    use crate::lifetimes::Lifetimes;
    use crate::names::ServerNames;
    use crate::served::{Served, server_config};
    use crate::status::Mode;

    /// A CA of clients.
    struct Clients(CertifiedIssuer<'static, KeyPair>);

    impl Clients {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn pem(&self) -> String {
            armored("CERTIFICATE", self.0.der())
        }

        fn client(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.0).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            (vec![certificate.der().clone()], key)
        }
    }

    /// A server that verifies clients by `verifier`, and whether it lets this one in.
    fn lets_in(verifier: &Arc<dyn ClientCertVerifier>, client: Option<(&Clients, &str)>) -> bool {
        let now = SystemTime::now();
        let lifetimes = Lifetimes::default();
        let authority = Authority::issue("drainhook", now, &lifetimes).unwrap();
        let names = ServerNames::new(["localhost".to_owned()]).unwrap();
        let served = Arc::new(Served::default());
        served.replace(authority.mint(&names, now, &lifetimes).unwrap().key);
        let config = server_config(served, Some(Arc::clone(verifier))).unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client.map(|(clients, name)| clients.client(name)) {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        while server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                if server.process_new_packets().is_err() {
                    return false;
                }
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        server.peer_certificates().is_some()
    }

    #[test]
    fn only_clients_of_the_ca_in_the_file_get_in_and_a_faulty_file_changes_nothing() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("ca.crt");
        let (ours, others) = (Clients::new(), Clients::new());
        let status = Status::new(Mode::Files);
        let reloaded = Arc::new(Reloaded {
            inner: ArcSwapOption::empty(),
            names: Vec::new(),
        });
        let verifier: Arc<dyn ClientCertVerifier> = Arc::clone(&reloaded) as _;
        let mut file = AuthorityFile {
            path: path.clone(),
            status: status.clone(),
            read: None,
            verifier: reloaded,
        };
        let admitted = |file: &mut AuthorityFile| {
            file.look();
            let clients = [None, Some((&ours, "anybody")), Some((&others, "anybody"))];
            clients.map(|client| lets_in(&verifier, client))
        };

        assert_eq!(
            admitted(&mut file),
            [false; 3],
            "without a file nobody gets in"
        );
        fs::write(&path, ours.pem()).unwrap();
        assert_eq!(admitted(&mut file), [false, true, false]);
        for faulty in ["", "garbage", &ours.pem()[..100]] {
            fs::write(&path, faulty).unwrap();
            assert_eq!(admitted(&mut file), [false, true, false], "{faulty:?}");
            assert!(
                status
                    .facts()
                    .standing
                    .contains_key(&Fault::ClientAuthority)
            );
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(admitted(&mut file), [false, true, false]);
        fs::write(&path, format!("{}{}", ours.pem(), others.pem())).unwrap();
        assert_eq!(admitted(&mut file), [false, true, true]);
        fs::write(&path, others.pem()).unwrap();
        assert_eq!(admitted(&mut file), [false, false, true]);
        let facts = status.facts();
        assert_eq!((facts.client_authority_loads, facts.standing.len()), (3, 0));
    }

    #[test]
    fn of_the_clients_of_the_ca_only_those_named_get_in() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("ca.crt");
        let (ours, others) = (Clients::new(), Clients::new());
        fs::write(&path, ours.pem()).unwrap();
        let names = vec!["kube-apiserver".to_owned(), "front".to_owned()];
        let interval = Duration::from_secs(1);
        let verifier =
            ClientAuthority::from_file(path, names, interval, Status::new(Mode::Files)).verifier;
        for (client, gets_in) in [
            (Some((&ours, "kube-apiserver")), true),
            (Some((&ours, "front")), true),
            (Some((&ours, "somebody")), false),
            (Some((&ours, "")), false),
            (Some((&others, "kube-apiserver")), false),
            (None, false),
        ] {
            let name = client.map(|(_, name)| name);
            assert_eq!(lets_in(&verifier, client), gets_in, "{name:?}");
        }
    }
}
