//! A chain and its key, checked before anybody is served with it.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificate::{Certificate, Standing, Validity};
use crate::provider::provider;
use crate::status::Fault;

/// A chain with the key of its first certificate.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// When the server's own certificate is valid.
    pub(super) validity: Validity,
    /// When all that follow it are, if any do. Clients need not look at each of them: a root that
    /// another one has replaced often is among them.
    pub(super) further: Option<Validity>,
    /// A name that the server's certificate is good for.
    pub(super) name: Option<String>,
}

/// Why contents are no [`Pair`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PairError {
    #[error("{0} is empty")]
    Empty(&'static str),
    #[error("the certificate file holds no certificate")]
    NoCertificate,
    #[error("the certificate file: {0}")]
    Certificate(String),
    #[error("the key file holds no private key in PEM")]
    NoKey,
    /// Never with the parser's detail: it may quote the key.
    #[error("the key file is cut off or is not PEM")]
    Key,
    #[error("the key is of a kind that TLS cannot use here")]
    KeyKind,
    #[error("the key is not that of the first certificate in the certificate file")]
    Mismatch,
}

impl PairError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Empty(_) | Self::NoCertificate | Self::NoKey => Fault::Empty,
            Self::Certificate(_) | Self::Key | Self::KeyKind => Fault::Malformed,
            Self::Mismatch => Fault::KeyMismatch,
        }
    }
}

impl Pair {
    /// Reads PEM: the chain with the server's certificate first, and its key (PKCS #8, PKCS #1 or
    /// SEC 1).
    pub(super) fn parse(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        if chain.trim_ascii().is_empty() {
            return Err(PairError::Empty("the certificate file"));
        }
        if key.trim_ascii().is_empty() {
            return Err(PairError::Empty("the key file"));
        }
        let chain = Certificate::parse_pem(chain)
            .map_err(|error| PairError::Certificate(error.to_string()))?;
        let (own, further) = chain.split_first().ok_or(PairError::NoCertificate)?;
        let (validity, further) = (own.validity, common(further));
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => PairError::NoKey,
            _ => PairError::Key,
        })?;
        let name = chain.first().and_then(|leaf| dns_name(&leaf.der));
        let ders = chain
            .into_iter()
            .map(|certificate| certificate.der)
            .collect();
        let key = CertifiedKey::from_der(ders, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => PairError::Mismatch,
            _ => PairError::KeyKind,
        })?;
        Ok(Self {
            key: Arc::new(key),
            validity,
            further,
            name,
        })
    }

    /// Whether all of its certificates are valid.
    pub(super) fn is_valid(&self, now: SystemTime) -> bool {
        let all = [Some(self.validity), self.further];
        all.iter()
            .flatten()
            .all(|validity| validity.at(now) == Standing::Valid)
    }

    /// What to expect of the whole chain: an intermediate that ends first ends it. One that has
    /// ended already was not needed, or has its fault told.
    pub(super) fn shortest(&self, now: SystemTime) -> Validity {
        let lasts = |further: &Validity| further.at(now) == Standing::Valid;
        match self.further.filter(lasts) {
            Some(further) => narrowed(self.validity, further),
            None => self.validity,
        }
    }
}

/// The first DNS name of the certificate; for a wildcard, one that it covers.
fn dns_name(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::DNSName(name) => Some(match name.strip_prefix("*.") {
                Some(parent) => format!("covered.{parent}"),
                None => (*name).to_owned(),
            }),
            _ => None,
        })
}

/// When all of them are valid.
fn common(chain: &[Certificate]) -> Option<Validity> {
    let validities = chain.iter().map(|certificate| certificate.validity);
    validities.reduce(narrowed)
}

fn narrowed(one: Validity, other: Validity) -> Validity {
    Validity {
        not_before: one.not_before.max(other.not_before),
        not_after: one.not_after.min(other.not_after),
    }
}
