//! The names by which a server is called.

use rcgen::string::Ia5String;
use rustls_pki_types::ServerName;

/// The DNS names of a Service, as its certificate carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNames {
    first: Ia5String,
    others: Vec<Ia5String>,
}

/// A name that cannot stand in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a DNS name")]
pub struct NameError(String);

impl ServerNames {
    /// The names of a Kubernetes Service: `NAME.NAMESPACE.svc`, by which API servers call it,
    /// then the fully qualified one and `NAME.NAMESPACE`, for people with curl.
    ///
    /// # Errors
    /// Where one of them is not a DNS name.
    pub fn service(
        service: &str,
        namespace: &str,
        cluster_domain: &str,
    ) -> Result<Self, NameError> {
        Self::new([
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.{cluster_domain}"),
            format!("{service}.{namespace}"),
        ])
    }

    /// Any names; the first is the one that [`crate::handshake`] asks for.
    ///
    /// # Errors
    /// Where there is none, or one is not a DNS name.
    pub fn new(names: impl IntoIterator<Item = String>) -> Result<Self, NameError> {
        let mut checked = Vec::new();
        for name in names {
            match (
                ServerName::try_from(name.as_str()),
                Ia5String::try_from(name.as_str()),
            ) {
                (Ok(ServerName::DnsName(_)), Ok(name)) => checked.push(name),
                _ => return Err(NameError(name)),
            }
        }
        let mut checked = checked.into_iter();
        let first = checked.next().ok_or_else(|| NameError(String::new()))?;
        Ok(Self {
            first,
            others: checked.collect(),
        })
    }

    /// The first name.
    #[must_use]
    pub fn first(&self) -> &str {
        self.first.as_str()
    }

    /// What stands as common name, which X.520 limits to 64 characters. Nobody has verified
    /// against it for years; it is for people who look at a certificate.
    pub(crate) fn common(&self) -> &str {
        const LONGEST: usize = 64;
        let first = self.first.as_str();
        first.get(..LONGEST).unwrap_or(first)
    }

    pub(crate) fn alternatives(&self) -> impl Iterator<Item = Ia5String> {
        std::iter::once(&self.first).chain(&self.others).cloned()
    }
}
