//! The CA: made here, and everything that is signed with it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::certificate::{Certificate, CertificateError, Validity, armored};
use crate::lifetimes::Lifetimes;
use crate::names::ServerNames;
use crate::provider::provider;

/// A CA: its certificate and the key to sign with. The key is never shown by `Debug` and is
/// overwritten in memory when it is dropped.
#[derive(Clone)]
pub struct Authority {
    /// The CA's certificate.
    pub certificate: Certificate,
    key: Arc<Zeroizing<Vec<u8>>>,
}

/// What a replica serves: a certificate of its own for a short while.
#[derive(Clone)]
pub struct Leaf {
    /// What rustls serves.
    pub key: Arc<CertifiedKey>,
    /// When the leaf is valid.
    pub validity: Validity,
    /// When it was minted.
    pub issued: SystemTime,
    /// The CA that signed it.
    pub authority: Certificate,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The wall clock shows a time that X.509 cannot express.
    #[error("the clock shows {0:?}, for which no certificate can be issued")]
    Clock(SystemTime),
    /// The system gave no random bytes.
    #[error("no random bytes for a serial number")]
    Random,
    /// rcgen refused.
    #[error("cannot issue the certificate: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// rustls refused the result.
    #[error("cannot use the issued certificate: {0}")]
    Rustls(#[from] rustls::Error),
    /// What was issued cannot be read back.
    #[error("cannot read the issued certificate: {0}")]
    Parse(String),
}

/// Why a certificate and a key are not a CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Not exactly one certificate.
    #[error("{0} certificates where one is expected")]
    Count(usize),
    /// A certificate that may not sign others.
    #[error("the certificate is not that of a CA (basic constraints)")]
    NotAnAuthority,
    /// The key cannot be read. The message never holds any of it.
    #[error("the key is not a private key in PKCS #8 PEM")]
    Key,
    /// Each is fine, but they are not a pair.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

impl Authority {
    /// Makes a new CA: ECDSA P-256, for `organization`, with a subject of its own, so that no
    /// two CAs can be taken for each other.
    ///
    /// It is valid for its lifetime from now on, and has been for as long: so a CA that was made
    /// under a clock far ahead is valid for everybody else too. A CA that nothing was signed with
    /// yet is no safer for beginning later.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue(
        organization: &str,
        now: SystemTime,
        lifetimes: &Lifetimes,
    ) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let (serial, mark) = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{organization} CA {mark}"));
        params.serial_number = Some(serial);
        params.not_before = date(now.checked_sub(lifetimes.authority), now)?;
        params.not_after = date(
            now.checked_add(lifetimes.authority).and_then(rounded_up),
            now,
        )?;
        // It signs leaves, nothing that signs in turn.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.self_signed(&key)?;
        let certificate =
            Certificate::parse(certificate.der().clone()).map_err(IssueError::Parse)?;
        Ok(Self {
            certificate,
            key: Arc::new(Zeroizing::new(key.serialize_der())),
        })
    }

    /// Reads a CA from the PEM of its certificate and of its key (PKCS #8), and checks that they
    /// belong together.
    ///
    /// # Errors
    /// See [`AuthorityError`]. Validity is not looked at.
    pub fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        let mut certificates = Certificate::parse_pem(certificate)?;
        let certificate = match (certificates.pop(), certificates.len()) {
            (Some(certificate), 0) => certificate,
            (None, _) => return Err(AuthorityError::Count(0)),
            (Some(_), others) => return Err(AuthorityError::Count(others + 1)),
        };
        if !certificate.is_authority {
            return Err(AuthorityError::NotAnAuthority);
        }
        let PrivateKeyDer::Pkcs8(key) =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| AuthorityError::Key)?
        else {
            return Err(AuthorityError::Key);
        };
        let authority = Self {
            certificate,
            key: Arc::new(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
        };
        let pair = authority.key_pair().map_err(|_| AuthorityError::Key)?;
        let (_, parsed) = X509Certificate::from_der(&authority.certificate.der)
            .map_err(|_| AuthorityError::NotAnAuthority)?;
        if parsed.tbs_certificate.subject_pki.raw != pair.subject_public_key_info() {
            return Err(AuthorityError::Mismatch);
        }
        Ok(authority)
    }

    /// PEM of the key, PKCS #8.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(armored("PRIVATE KEY", &self.key))
    }

    /// Mints a short-lived certificate with a key of its own: ECDSA P-256, for `names`.
    ///
    /// It never outlives the CA.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn mint(
        &self,
        names: &ServerNames,
        now: SystemTime,
        lifetimes: &Lifetimes,
    ) -> Result<Leaf, IssueError> {
        let issuer = Issuer::from_ca_cert_der(&self.certificate.der, self.key_pair()?)?;
        let key = KeyPair::generate()?;
        let (serial, _) = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, names.common());
        params.subject_alt_names = names.alternatives().map(SanType::DnsName).collect();
        params.serial_number = Some(serial);
        let begins = now.checked_sub(lifetimes.backdate);
        params.not_before = date(begins.max(Some(self.certificate.validity.not_before)), now)?;
        let ends = now.checked_add(lifetimes.leaf).and_then(rounded_up);
        params.not_after = date(
            ends.map(|ends| ends.min(self.certificate.validity.not_after)),
            now,
        )?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        let certificate =
            Certificate::parse(certificate.der().clone()).map_err(IssueError::Parse)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let served = CertifiedKey::from_der(vec![certificate.der], private, &provider())?;
        Ok(Leaf {
            key: Arc::new(served),
            validity: certificate.validity,
            issued: now,
            authority: self.certificate.clone(),
        })
    }

    fn key_pair(&self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::try_from(self.key.as_slice())
    }

    /// A CA that signs nothing, for tests of what only looks at dates and identity.
    #[cfg(test)]
    pub(crate) fn pretend(certificate: Certificate) -> Self {
        Self {
            certificate,
            key: Arc::default(),
        }
    }
}

/// 128 random bits, as RFC 5280 section 4.1.2.2 wants them (positive, at most 20 octets), and the
/// first of them in hex.
fn serial() -> Result<(SerialNumber, String), IssueError> {
    let mut bytes = [0; 16];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| IssueError::Random)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    let mark = bytes[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((SerialNumber::from_slice(&bytes), mark))
}

fn date(moment: Option<SystemTime>, now: SystemTime) -> Result<OffsetDateTime, IssueError> {
    // The last second that RFC 5280 can write: 9999-12-31T23:59:59Z.
    const LAST: i64 = 253_402_300_799;
    let seconds = moment
        .and_then(|moment| moment.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .filter(|seconds| *seconds <= LAST)
        .ok_or(IssueError::Clock(now))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Clock(now))
}

/// X.509 has no fractions of a second: an end is rounded up, so that a lifetime is never shorter
/// than it was asked for.
fn rounded_up(moment: SystemTime) -> Option<SystemTime> {
    moment.checked_add(Duration::from_nanos(999_999_999))
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }
}

impl Eq for Authority {}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("certificate", &self.certificate)
            .field("key", &"(redacted)")
            .finish()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Leaf")
            .field("validity", &self.validity)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}
