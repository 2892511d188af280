//! What can be said about the certificates: for metrics, for `/readyz`, for the log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::certificate::Validity;

/// Where the certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From files.
    Files,
    /// Minted from the CA in the Secret.
    SelfManaged,
}

/// Everything that can be wrong with certificates: a closed set, fit to be a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A file cannot be read.
    Unreadable,
    /// A file holds nothing of what it should.
    Empty,
    /// A file or the Secret holds something else, or half of it.
    Malformed,
    /// The key is not that of the certificate.
    KeyMismatch,
    /// The certificate is not valid any more.
    Expired,
    /// The certificate is not valid yet: the clock here or at the issuer is wrong.
    NotYetValid,
    /// A certificate behind the one that is served is out of date: clients that need it refuse.
    Chain,
    /// There is no Secret.
    NoSecret,
    /// No CA in the Secret is valid now.
    NoAuthority,
    /// The Kubernetes API cannot be read: what was known last is used.
    Disconnected,
    /// Minting a certificate failed.
    Issue,
    /// A handshake with oneself does not verify against what is published.
    Unverified,
    /// The file with the clients' CA is not usable.
    ClientAuthority,
}

impl Fault {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 13] = [
        Self::Unreadable,
        Self::Empty,
        Self::Malformed,
        Self::KeyMismatch,
        Self::Expired,
        Self::NotYetValid,
        Self::Chain,
        Self::NoSecret,
        Self::NoAuthority,
        Self::Disconnected,
        Self::Issue,
        Self::Unverified,
        Self::ClientAuthority,
    ];

    /// Whether what came was faulty and was passed over; the others are about what is served, about
    /// the way to it, and about what is published.
    #[must_use]
    pub fn is_of_content(self) -> bool {
        match self {
            Self::Unreadable
            | Self::Empty
            | Self::Malformed
            | Self::KeyMismatch
            | Self::Expired
            | Self::NotYetValid
            | Self::NoAuthority => true,
            Self::Chain
            | Self::NoSecret
            | Self::Disconnected
            | Self::Issue
            | Self::Unverified
            | Self::ClientAuthority => false,
        }
    }

    /// The metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::KeyMismatch => "key_mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Chain => "chain",
            Self::NoSecret => "no_secret",
            Self::NoAuthority => "no_authority",
            Self::Disconnected => "disconnected",
            Self::Issue => "issue",
            Self::Unverified => "unverified",
            Self::ClientAuthority => "client_authority",
        }
    }
}

/// What was true at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where the certificates come from.
    pub mode: Mode,
    /// Whether a handshake with oneself has verified against what is published, ever.
    pub ready: bool,
    /// Validity of the certificate that is served.
    pub served: Option<Validity>,
    /// Validity of the CA that signed it, where it is known.
    pub authority: Option<Validity>,
    /// How often another certificate began to be served, the first included.
    pub loads: u64,
    /// How often the clients' CA began to be used, the first included.
    pub client_authority_loads: u64,
    /// How often each fault arose; those that never did are missing.
    pub faults: BTreeMap<Fault, u64>,
    /// The faults that stand now, each in words.
    pub standing: BTreeMap<Fault, String>,
}

impl Facts {
    /// Seconds until the served certificate expires, negative afterwards.
    #[must_use]
    pub fn expires_in(&self, now: SystemTime) -> Option<f64> {
        let end = self.served?.not_after;
        Some(match end.duration_since(now) {
            Ok(left) => left.as_secs_f64(),
            Err(error) => -error.duration().as_secs_f64(),
        })
    }

    /// One line for `/readyz`: what is served until when, and what is wrong.
    #[must_use]
    pub fn detail(&self) -> String {
        let mut line = match self.served {
            Some(validity) => format!(
                "certificate valid until {}",
                humantime::format_rfc3339_seconds(validity.not_after)
            ),
            None => "no certificate yet".to_owned(),
        };
        if !self.ready {
            line.push_str("; no verified handshake with itself yet");
        }
        for (fault, message) in &self.standing {
            // Writing to a string does not fail.
            let _ = write!(line, "; {}: {message}", fault.label());
        }
        line
    }
}

/// A handle on the [`Facts`], shared by whoever wants to look.
#[derive(Clone, Debug)]
pub struct Status(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    facts: Mutex<Facts>,
    ready: watch::Sender<bool>,
}

impl Status {
    pub(crate) fn new(mode: Mode) -> Self {
        let facts = Facts {
            mode,
            ready: false,
            served: None,
            authority: None,
            loads: 0,
            client_authority_loads: 0,
            faults: BTreeMap::new(),
            standing: BTreeMap::new(),
        };
        Self(Arc::new(Shared {
            facts: Mutex::new(facts),
            ready: watch::Sender::new(false),
        }))
    }

    /// What is true now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// Whether a handshake with oneself has ever verified against what is published. Once true it
    /// stays so: a foreign CA in a `caBundle` would otherwise take out all replicas at once.
    #[must_use]
    pub fn ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Waits until [`Self::ready`].
    pub async fn wait_ready(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.ready.subscribe().wait_for(|ready| *ready).await;
    }

    pub(crate) fn served(&self, served: Validity, authority: Option<Validity>) {
        let mut facts = self.lock();
        facts.served = Some(served);
        facts.authority = authority;
        facts.loads += 1;
        info!(
            loads = facts.loads,
            not_after = %humantime::format_rfc3339_seconds(served.not_after),
            "serving another certificate"
        );
    }

    pub(crate) fn client_authority_loaded(&self, certificates: usize) {
        let mut facts = self.lock();
        facts.client_authority_loads += 1;
        info!(certificates, "verifying clients against another CA");
    }

    pub(crate) fn verified(&self) {
        self.clear(Fault::Unverified);
        let mut facts = self.lock();
        if !facts.ready {
            facts.ready = true;
            info!("a handshake with itself verifies against what is published");
        }
        drop(facts);
        self.0
            .ready
            .send_if_modified(|ready| !std::mem::replace(ready, true));
    }

    /// A fault stands. It is counted and logged when it arises or changes its words, not at each
    /// look.
    pub(crate) fn fault(&self, fault: Fault, message: String) {
        let mut facts = self.lock();
        if facts.standing.get(&fault) == Some(&message) {
            return;
        }
        let consequence = match fault {
            Fault::Chain => "served nevertheless",
            _ => "what was good last is used on",
        };
        warn!(fault = fault.label(), "{message}; {consequence}");
        *facts.faults.entry(fault).or_default() += 1;
        facts.standing.insert(fault, message);
    }

    pub(crate) fn clear(&self, fault: Fault) {
        if self.lock().standing.remove(&fault).is_some() {
            info!(fault = fault.label(), "mended");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        // Nothing panics while it is held, and facts are whole after each statement.
        self.0.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
