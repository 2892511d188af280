//! What is seen of a cluster at one moment.

use super::{Parts, Rotation};
use crate::certificate::{Certificate, same_set};

/// Everything that was seen at one moment.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Secret.
    pub secret: SecretObserved,
    /// Every configuration that is owned.
    pub configurations: Vec<Configuration>,
}

/// The Secret, as it was seen.
#[derive(Clone, Debug)]
pub enum SecretObserved {
    /// There is none.
    Absent,
    /// There is one.
    Present {
        /// What it holds.
        parts: Box<Parts>,
        /// The request for a rotation that stands on it, if one does.
        request: Option<String>,
    },
}

/// A webhook configuration, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// It was read.
    Found(Vec<Entry>),
    /// There is none of that name.
    Missing,
    /// It could not be read.
    Unknown,
}

/// One webhook of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, the key of the list.
    pub name: String,
    /// The certificates in its `caBundle`.
    pub bundle: Vec<Certificate>,
    /// Whether the bundle holds anything that is not a certificate.
    pub garbage: bool,
}

impl Observed {
    /// The rotation, where the Secret is there and whole.
    #[must_use]
    pub fn rotation(&self) -> Option<Rotation> {
        match &self.secret {
            SecretObserved::Absent => None,
            SecretObserved::Present { parts, .. } => parts.assemble().ok(),
        }
    }

    /// Whether every entry of every configuration trusts exactly `bundle`. None where that is not
    /// known: a configuration could not be read, or there is no entry at all.
    #[must_use]
    pub fn right(&self, bundle: &[Certificate]) -> Option<bool> {
        let mut entries = self.entries().peekable();
        if entries.peek().is_some() && !entries.all(|entry| entry.trusts(bundle)) {
            return Some(false);
        }
        let any = self.entries().next().is_some();
        (any && !self.configurations.contains(&Configuration::Unknown)).then_some(true)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.configurations
            .iter()
            .flat_map(|configuration| match configuration {
                Configuration::Found(entries) => entries.as_slice(),
                Configuration::Missing | Configuration::Unknown => &[],
            })
    }
}

impl Entry {
    pub(super) fn trusts(&self, bundle: &[Certificate]) -> bool {
        !self.garbage && same_set(&self.bundle, bundle)
    }
}
