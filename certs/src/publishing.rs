//! What can be said about the publisher: for metrics, for its `/readyz`, for the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};

use crate::certificate::Validity;
use crate::rotation::{Event, Phase, Rotation};

/// A handle on what the publisher did and found.
#[derive(Clone, Debug, Default)]
pub struct Publishing(Arc<Mutex<PublisherFacts>>);

/// What was true at one moment.
#[derive(Clone, Debug, Default)]
pub struct PublisherFacts {
    /// How far the rotation is; none before the Secret was seen or written.
    pub phase: Option<Phase>,
    /// Since when, on the wall clock of the publisher that wrote it.
    pub since: Option<SystemTime>,
    /// Validity of the CA that signs.
    pub authority: Option<Validity>,
    /// How many CAs are trusted now.
    pub trusted: usize,
    /// Whether every `caBundle` was right at the last look.
    pub right: bool,
    /// Whether every `caBundle` has ever been right.
    pub ready: bool,
    /// The configurations that do not exist.
    pub missing: Vec<String>,
    /// How often each thing happened; those that never did are missing.
    pub events: BTreeMap<Event, u64>,
    /// How many configurations were written.
    pub configuration_writes: u64,
    /// How often the Secret was written.
    pub secret_writes: u64,
    /// How often another writer was first.
    pub conflicts: u64,
    /// How many rounds failed.
    pub failures: u64,
    /// Why the last round failed, if it did.
    pub failure: Option<String>,
    /// Why the Secret could not be tied to the registration, if it could not. It does not keep
    /// anything from working; an uninstallation leaves the Secret behind.
    pub untied: Option<String>,
}

impl Publishing {
    /// What is true now.
    #[must_use]
    pub fn facts(&self) -> PublisherFacts {
        self.lock().clone()
    }

    pub(crate) fn done(&self, events: &[Event], bundles: usize, secret: bool) {
        let mut facts = self.lock();
        for event in events {
            info!(event = event.label(), "{}", told(*event));
            *facts.events.entry(*event).or_default() += 1;
        }
        facts.configuration_writes += u64::try_from(bundles).unwrap_or(u64::MAX);
        facts.secret_writes += u64::from(secret);
        if facts.failure.take().is_some() {
            info!("mended");
        }
    }

    /// What a look found: whether every `caBundle` is right, if that is known, and which
    /// configurations do not exist. It is said before anything is written, and so it holds where
    /// nothing may be written.
    pub(crate) fn looked(&self, right: Option<bool>, missing: Vec<String>) {
        let mut facts = self.lock();
        if facts.missing != missing && !missing.is_empty() {
            warn!(
                "missing: {}; nothing is published there until it exists",
                missing.join(", ")
            );
        }
        facts.missing = missing;
        facts.right = right == Some(true);
    }

    /// A look came to nothing: what was right may be so no longer.
    pub(crate) fn blind(&self) {
        self.lock().right = false;
    }

    pub(crate) fn stands(&self, rotation: &Rotation, right: bool) {
        let mut facts = self.lock();
        facts.phase = Some(rotation.phase);
        facts.since = Some(rotation.since);
        let current = rotation.current.as_ref();
        facts.authority = current.map(|authority| authority.certificate.validity);
        facts.trusted = rotation.bundle().len();
        facts.right = right;
        facts.ready |= right;
    }

    pub(crate) fn conflict(&self) {
        self.lock().conflicts += 1;
    }

    pub(crate) fn failed(&self, message: String) {
        let mut facts = self.lock();
        facts.failures += 1;
        if facts.failure.as_ref() != Some(&message) {
            warn!("{message}; it is tried again");
            facts.failure = Some(message);
        }
    }

    /// The Secret was tied to the registration, or why it could not be.
    pub(crate) fn tied(&self, outcome: Result<(), String>) {
        let untied = outcome.err();
        let mut facts = self.lock();
        if let Some(message) = &untied
            && facts.untied != untied
        {
            warn!(
                "{message}; an uninstallation will leave it behind. Where the cluster forbids it: allow \
                 the publisher to delete this Secret, as the chart's Role does, or delete it by hand \
                 after the uninstallation"
            );
        }
        facts.untied = untied;
    }

    fn lock(&self) -> MutexGuard<'_, PublisherFacts> {
        // Nothing panics while it is held, and facts are whole after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(event: Event) -> &'static str {
    match event {
        Event::Founded => "made the first CA",
        Event::Restored => "the Secret was lost or damaged; it is written as it was",
        Event::Salvaged => "the Secret was lost or damaged; what is left is put in order",
        Event::Replaced => {
            "the Secret was replaced from outside; the CA known so far stays trusted"
        }
        Event::Started => "made the next CA; it is being published",
        Event::Published => "the next CA stands in every caBundle",
        Event::Reopened => "a caBundle was overwritten before the overlap was over; it begins anew",
        Event::Switched => "the next CA signs from now on",
        Event::Retired => "the old CA is trusted no longer",
        Event::Retimed => "the rotation's time lay in the future; it counts from now",
        Event::FilledBundle => "a caBundle was empty; it is filled",
        Event::RepairedBundle => "a caBundle held something else; it is put right",
    }
}
