//! The rotation of the CA, as a pure core: no clock, no network, no Kubernetes.
//!
//! ```text
//!            due or asked for             in every caBundle            for the overlap
//!  steady ───────────────────▶ publishing ─────────────────▶ published ───────────────▶ switched
//!    ▲   signs: old              signs: old   ▲                signs: old   │             signs: new
//!    │   trusted: old            trusted: both└─────────────────────────────┘             trusted: both
//!    │                                         a caBundle was overwritten                   │
//!    └──────────────────────────────────────────────────────────────────────────────────────┘
//!                      a leaf's lifetime and the overlap after the switch
//! ```
//!
//! Nothing is signed with a CA before API servers had the overlap to learn of it, and no CA is
//! dropped before everything that it signed has expired. Two pure functions hold that:
//! [`Rotation::plan`] for who writes, [`Rotation::choose`] for who only reads and mints.

mod choose;
#[cfg(test)]
mod fixtures;
mod observed;
mod parts;
mod plan;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod watched;

use std::time::SystemTime;

pub use self::observed::{Configuration, Entry, Observed, SecretObserved};
pub use self::parts::{Part, Parts};
pub use self::plan::{BundleWrite, Event, Findings, Plan, Planner};
pub use self::watched::Watched;
use crate::authority::Authority;
use crate::certificate::Certificate;

/// How many CAs are trusted at most beside the current and the next one. By itself a rotation has
/// one; more come about only where Secrets are lost and clocks jump.
const PREVIOUS_AT_MOST: usize = 8;

/// What the Secret says: which CAs there are and what each is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// How far the rotation is.
    pub phase: Phase,
    /// Since when, on the publisher's wall clock.
    pub since: SystemTime,
    /// The CA that signs. It is missing only where its key was lost and the next one may not yet
    /// be signed with.
    pub current: Option<Authority>,
    /// The CA that will sign; in [`Phase::Publishing`] and [`Phase::Published`] only.
    pub next: Option<Authority>,
    /// CAs that sign no longer but are still trusted.
    pub previous: Vec<Certificate>,
    /// What stood in every `caBundle` when the publisher last found all of them right.
    pub published: Vec<Certificate>,
    /// The last request for a rotation that was honoured.
    pub honoured: Option<String>,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// One CA, trusted and signing.
    Steady,
    /// The next CA exists and is being written into every `caBundle`.
    Publishing,
    /// The next CA stands in every `caBundle`; API servers are given time to learn of it.
    Published,
    /// The new CA signs; the old one is still trusted.
    Switched,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Steady,
        Self::Publishing,
        Self::Published,
        Self::Switched,
    ];

    /// As it stands in the Secret, in metrics and in the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Publishing => "publishing",
            Self::Published => "published",
            Self::Switched => "switched",
        }
    }

    /// The phase of that label.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.label() == label)
    }
}

impl Rotation {
    /// What belongs into every `caBundle` now: each CA that anything valid may be signed with, and
    /// the one that is next.
    #[must_use]
    pub fn bundle(&self) -> Vec<Certificate> {
        let own = self
            .current
            .iter()
            .chain(&self.next)
            .map(|authority| &authority.certificate);
        let mut bundle: Vec<Certificate> = Vec::new();
        for certificate in own.chain(&self.previous) {
            if !bundle.contains(certificate) {
                bundle.push(certificate.clone());
            }
        }
        bundle
    }

    /// Goes on trusting a CA that signs no longer.
    fn retain(&mut self, authority: Option<Authority>) {
        self.previous
            .extend(authority.map(|authority| authority.certificate));
        let surplus = self.previous.len().saturating_sub(PREVIOUS_AT_MOST);
        self.previous.drain(..surplus);
    }
}
