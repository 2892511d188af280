//! From what is seen to what is to be written.

use std::time::{Duration, SystemTime};

use super::observed::{Configuration, Observed, SecretObserved};
use super::{PREVIOUS_AT_MOST, Parts, Phase, Rotation};
use crate::authority::Authority;
use crate::certificate::{Certificate, Standing};
use crate::lifetimes::Lifetimes;

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// `caBundle`s to write, for the Secret as it stands.
    pub bundles: Vec<BundleWrite>,
    /// What the Secret is to hold, where that differs from what it holds.
    pub secret: Option<Rotation>,
    /// What happened, for log and metrics.
    pub events: Vec<Event>,
}

/// A configuration whose entries are all to get `bundle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleWrite {
    /// Index in [`Observed::configurations`].
    pub configuration: usize,
    /// The names of all of its entries.
    pub entries: Vec<String>,
    /// What each is to trust.
    pub bundle: Vec<Certificate>,
}

/// What a plan sets going or mends: a closed set, fit to be a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// There was no Secret and nothing is known of one: a first CA is made.
    Founded,
    /// The Secret was deleted or damaged and is written as it was.
    Restored,
    /// The Secret was damaged or lost, and what is left of it is put in order.
    Salvaged,
    /// The Secret was replaced from outside; the CA known so far stays trusted for a while.
    Replaced,
    /// A new CA is made and will be published.
    Started,
    /// The new CA stands in every `caBundle`.
    Published,
    /// A `caBundle` was overwritten before the overlap was over, which begins anew.
    Reopened,
    /// The new CA signs.
    Switched,
    /// The old CA is trusted no longer.
    Retired,
    /// The Secret's time lay in the future; it is counted from now.
    Retimed,
    /// Somebody emptied a `caBundle`, or one came without; it is filled.
    FilledBundle,
    /// Somebody put something else into a `caBundle`; it is put right.
    RepairedBundle,
}

impl Event {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 12] = [
        Self::Founded,
        Self::Restored,
        Self::Salvaged,
        Self::Replaced,
        Self::Started,
        Self::Published,
        Self::Reopened,
        Self::Switched,
        Self::Retired,
        Self::Retimed,
        Self::FilledBundle,
        Self::RepairedBundle,
    ];

    /// The metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Founded => "founded",
            Self::Restored => "restored",
            Self::Salvaged => "salvaged",
            Self::Replaced => "replaced",
            Self::Started => "started",
            Self::Published => "published",
            Self::Reopened => "reopened",
            Self::Switched => "switched",
            Self::Retired => "retired",
            Self::Retimed => "retimed",
            Self::FilledBundle => "filled_bundle",
            Self::RepairedBundle => "repaired_bundle",
        }
    }
}

/// What does not change from plan to plan.
#[derive(Clone, Debug)]
pub struct Planner {
    /// The organization that our CAs carry, by which they are known in a `caBundle`.
    pub organization: String,
    /// How long everything takes.
    pub lifetimes: Lifetimes,
}

/// What the planner goes by, besides what was seen.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    /// The last whole rotation that this process saw or wrote.
    pub memory: Option<&'a Rotation>,
    /// For how long it has seen every `caBundle` right, see [`super::Watched`].
    pub watched: Duration,
    /// The wall clock.
    pub now: SystemTime,
}

impl Planner {
    /// What is to be done next. Deterministic but for `mint`, which makes a new CA and is called
    /// at most once.
    ///
    /// One step at a time: after the writes, look again and plan again, until nothing is left.
    ///
    /// # Errors
    /// Those of `mint`.
    pub fn plan<E>(
        &self,
        observed: &Observed,
        findings: Findings<'_>,
        mint: impl FnOnce() -> Result<Authority, E>,
    ) -> Result<Plan, E> {
        let Some(rotation) = observed.rotation() else {
            return self.recover(observed, findings, mint);
        };
        let mut plan = repairs(observed, &rotation);
        let request = match &observed.secret {
            SecretObserved::Present { request, .. } => request.as_deref(),
            SecretObserved::Absent => None,
        };
        let right = observed.right(&rotation.bundle());
        let mut next = rotation.clone();
        if self.replaced(&rotation, findings) {
            next.retain(findings.memory.and_then(|memory| memory.current.clone()));
            if next.phase == Phase::Steady {
                (next.phase, next.since) = (Phase::Switched, findings.now);
            }
            plan.events.push(Event::Replaced);
        } else {
            if right == Some(true) {
                next.published = rotation.bundle();
            }
            let event = self.advance(&mut next, right, request, findings, mint)?;
            plan.events.extend(event);
        }
        if next != rotation {
            plan.secret = Some(next);
        }
        Ok(plan)
    }

    /// A Secret where there is none that could be used.
    fn recover<E>(
        &self,
        observed: &Observed,
        Findings { memory, now, .. }: Findings<'_>,
        mint: impl FnOnce() -> Result<Authority, E>,
    ) -> Result<Plan, E> {
        if let Some(memory) = memory {
            let (secret, events) = (Some(memory.clone()), vec![Event::Restored]);
            return Ok(Plan {
                secret,
                events,
                ..Plan::default()
            });
        }
        let empty = Parts::default();
        let parts = match &observed.secret {
            SecretObserved::Absent => &empty,
            SecretObserved::Present { parts, .. } => parts,
        };
        let mut trusted: Vec<Certificate> = Vec::new();
        for certificate in observed.entries().flat_map(|entry| &entry.bundle) {
            let ours = certificate.is_authority
                && certificate.organization.as_deref() == Some(self.organization.as_str());
            if ours && trusted.len() < PREVIOUS_AT_MOST && !trusted.contains(certificate) {
                trusted.push(certificate.clone());
            }
        }
        let rotation = parts.salvage(&trusted, now, mint)?;
        let first = rotation.phase == Phase::Steady && rotation.published.is_empty();
        let event = if first {
            Event::Founded
        } else {
            Event::Salvaged
        };
        Ok(Plan {
            secret: Some(rotation),
            events: vec![event],
            ..Plan::default()
        })
    }

    /// Whether the Secret no longer knows the CA that replicas may still be signing with: somebody
    /// restored an old copy, or put in a CA of their own.
    fn replaced(&self, rotation: &Rotation, Findings { memory, now, .. }: Findings<'_>) -> bool {
        let known = memory.and_then(|memory| memory.current.as_ref());
        known.is_some_and(|known| {
            known.certificate.validity.contains(now)
                && !rotation.bundle().contains(&known.certificate)
        })
    }

    /// One step of the rotation, where one is due.
    fn advance<E>(
        &self,
        rotation: &mut Rotation,
        right: Option<bool>,
        request: Option<&str>,
        Findings { watched, now, .. }: Findings<'_>,
        mint: impl FnOnce() -> Result<Authority, E>,
    ) -> Result<Option<Event>, E> {
        let (overlap, retirement) = (self.lifetimes.overlap, self.lifetimes.retirement());
        let settled = right == Some(true) && watched >= overlap;
        let stood_for = |length: Duration| {
            settled
                && now
                    .duration_since(rotation.since)
                    .is_ok_and(|stood| stood >= length)
        };
        let switches = rotation.phase == Phase::Published && stood_for(overlap);
        let retires = rotation.phase == Phase::Switched && stood_for(retirement);
        let asked_for = request.is_some() && request != rotation.honoured.as_deref();
        let standing = |authority: &Authority| authority.certificate.validity.at(now);
        let starts = match (rotation.phase, &rotation.current, &rotation.next) {
            // With a caBundle that is wrong or cannot be read a rotation would get no further: it
            // waits, unless nobody can go on without it.
            (Phase::Steady, Some(current), _) => {
                let wanted = asked_for || self.due(current, now);
                wanted && right == Some(true) || standing(current) != Standing::Valid
            }
            // What was to be dropped stays trusted beside the third one.
            (Phase::Switched, Some(current), _) => standing(current) != Standing::Valid,
            // Nobody could sign with it. One that is not valid yet, because some clock was or is
            // ahead of this one, gets the overlap to become so: two publishers whose clocks
            // disagree would otherwise replace each other's as fast as they can write.
            (Phase::Publishing | Phase::Published, _, Some(next)) => match standing(next) {
                Standing::Valid => false,
                Standing::NotYetValid => switches,
                Standing::Expired => true,
            },
            _ => false,
        };
        let event = if starts {
            let given_up = rotation.next.replace(mint()?);
            rotation.retain(given_up);
            rotation.honoured = request.map(str::to_owned);
            (rotation.phase, rotation.since) = (Phase::Publishing, now);
            Event::Started
        } else if rotation.since > now {
            rotation.since = now;
            Event::Retimed
        } else {
            match rotation.phase {
                Phase::Publishing if right == Some(true) => {
                    (rotation.phase, rotation.since) = (Phase::Published, now);
                    Event::Published
                }
                Phase::Published if right == Some(false) => {
                    (rotation.phase, rotation.since) = (Phase::Publishing, now);
                    Event::Reopened
                }
                Phase::Published if switches => {
                    let old = std::mem::replace(&mut rotation.current, rotation.next.take());
                    rotation.retain(old);
                    (rotation.phase, rotation.since) = (Phase::Switched, now);
                    Event::Switched
                }
                Phase::Switched if retires => {
                    rotation.previous.clear();
                    (rotation.phase, rotation.since) = (Phase::Steady, now);
                    Event::Retired
                }
                _ => return Ok(None),
            }
        };
        Ok(Some(event))
    }

    /// Whether a CA is to be replaced: by age, near its end (one that somebody put there, with a
    /// lifetime shorter than ours), or because by this clock it is not valid at all.
    fn due(&self, authority: &Authority, now: SystemTime) -> bool {
        let validity = authority.certificate.validity;
        let age = now.duration_since(validity.middle()).unwrap_or_default();
        let reserve = self
            .lifetimes
            .overlap
            .saturating_add(self.lifetimes.retirement());
        let left = validity.not_after.duration_since(now).unwrap_or_default();
        age >= self.lifetimes.authority_rotation || left < reserve || !validity.contains(now)
    }
}

/// The `caBundle`s that do not say what the Secret says.
fn repairs(observed: &Observed, rotation: &Rotation) -> Plan {
    let bundle = rotation.bundle();
    let mut plan = Plan::default();
    for (index, configuration) in observed.configurations.iter().enumerate() {
        let Configuration::Found(entries) = configuration else {
            continue;
        };
        let wrong: Vec<_> = entries
            .iter()
            .filter(|entry| !entry.trusts(&bundle))
            .collect();
        if wrong.is_empty() {
            continue;
        }
        for entry in wrong {
            if entry.bundle.is_empty() && !entry.garbage {
                plan.events.push(Event::FilledBundle);
            } else if !entry.trusts(&rotation.published) {
                plan.events.push(Event::RepairedBundle);
            }
        }
        plan.bundles.push(BundleWrite {
            configuration: index,
            entries: entries.iter().map(|entry| entry.name.clone()).collect(),
            bundle: bundle.clone(),
        });
    }
    plan
}
