//! A certificate with what is read from it once: validity, issuer's organization, role.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::AttributeTypeAndValue;

/// From when to when a certificate is valid, on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
}

/// Where a moment lies relative to a [`Validity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Inside of it.
    Valid,
    /// Before it.
    NotYetValid,
    /// After it.
    Expired,
}

impl Validity {
    /// Where `now` lies.
    #[must_use]
    pub fn at(&self, now: SystemTime) -> Standing {
        if now < self.not_before {
            Standing::NotYetValid
        } else if now > self.not_after {
            Standing::Expired
        } else {
            Standing::Valid
        }
    }

    /// The moment in the middle. For a CA of ours that is when it was made, see
    /// [`crate::authority::Authority::issue`].
    #[must_use]
    pub fn middle(&self) -> SystemTime {
        let length = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or_default();
        self.not_before
            .checked_add(length / 2)
            .unwrap_or(self.not_before)
    }

    /// Whether `now` lies inside.
    #[must_use]
    pub fn contains(&self, now: SystemTime) -> bool {
        self.at(now) == Standing::Valid
    }
}

/// An X.509 certificate. Two are equal when their bytes are.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// When it is valid.
    pub validity: Validity,
    /// The organization (`O`) of its subject.
    pub organization: Option<String>,
    /// The common name (`CN`) of its subject.
    pub common_name: Option<String>,
    /// Whether it may sign others (basic constraints).
    pub is_authority: bool,
}

/// Why bytes are not the certificates that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM.
    #[error("not PEM: {0}")]
    Pem(String),
    /// PEM, but a block is not a certificate.
    #[error("certificate {number} is not X.509: {message}")]
    X509 {
        /// Which one, from 1.
        number: usize,
        /// What the parser says.
        message: String,
    },
}

impl Certificate {
    /// Reads what is needed from the certificate.
    ///
    /// # Errors
    /// The parser's message.
    pub fn parse(der: CertificateDer<'static>) -> Result<Self, String> {
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow the certificate", rest.len()));
        }
        let validity = Validity {
            not_before: moment(parsed.validity().not_before),
            not_after: moment(parsed.validity().not_after),
        };
        let subject = parsed.subject();
        let organization = subject.iter_organization().find_map(text);
        let common_name = subject.iter_common_name().find_map(text);
        let is_authority = parsed.is_ca();
        Ok(Self {
            validity,
            organization,
            common_name,
            is_authority,
            der,
        })
    }

    /// Reads every certificate of a PEM text, in its order. A text without any gives none.
    ///
    /// # Errors
    /// The first block that is broken or cut off.
    pub fn parse_pem(text: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let ders: Vec<_> = CertificateDer::pem_slice_iter(text)
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::Pem(error.to_string()))?;
        let parse = |(index, der)| {
            Self::parse(der).map_err(|message| CertificateError::X509 {
                number: index + 1,
                message,
            })
        };
        ders.into_iter().enumerate().map(parse).collect()
    }

    /// PEM of one certificate.
    #[must_use]
    pub fn to_pem(&self) -> String {
        armored("CERTIFICATE", &self.der)
    }
}

/// PEM of several certificates, one after the other, as `caBundle` takes it.
#[must_use]
pub fn bundle_pem(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}

/// Whether both hold the same certificates, in whatever order and however often.
#[must_use]
pub fn same_set(one: &[Certificate], other: &[Certificate]) -> bool {
    one.iter().all(|certificate| other.contains(certificate))
        && other.iter().all(|certificate| one.contains(certificate))
}

pub(crate) fn armored(label: &str, contents: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, contents), config)
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned)
}

fn moment(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    moment.unwrap_or(UNIX_EPOCH)
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("validity", &self.validity)
            .field("organization", &self.organization)
            .field("common_name", &self.common_name)
            .finish_non_exhaustive()
    }
}
