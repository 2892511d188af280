//! What is left of a Secret that somebody damaged, and how a rotation is made of it.

use std::time::SystemTime;

use super::{PREVIOUS_AT_MOST, Phase, Rotation};
use crate::authority::Authority;
use crate::certificate::Certificate;

/// The contents of the Secret, each part by itself.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The CA that signs.
    pub current: Part,
    /// The next one.
    pub next: Part,
    /// Still trusted.
    pub previous: Vec<Certificate>,
    /// What stood in every `caBundle`.
    pub published: Vec<Certificate>,
    /// How far the rotation is.
    pub phase: Option<Phase>,
    /// Since when.
    pub since: Option<SystemTime>,
    /// The last honoured request.
    pub honoured: Option<String>,
    /// What is wrong, in words.
    pub damage: Vec<String>,
}

/// A CA in the Secret.
#[derive(Clone, Debug, Default)]
pub enum Part {
    /// Neither certificate nor key.
    #[default]
    Absent,
    /// Not a pair; the certificate where that could be read.
    Damaged(Option<Certificate>),
    /// Certificate and key.
    Whole(Authority),
}

impl Part {
    fn whole(&self) -> Option<&Authority> {
        match self {
            Self::Whole(authority) => Some(authority),
            Self::Absent | Self::Damaged(_) => None,
        }
    }

    fn remains(&self) -> Option<&Certificate> {
        match self {
            Self::Damaged(certificate) => certificate.as_ref(),
            Self::Absent | Self::Whole(_) => None,
        }
    }
}

impl Parts {
    /// The rotation, where all parts are there and fit together.
    ///
    /// # Errors
    /// Everything that is wrong, in words.
    pub fn assemble(&self) -> Result<Rotation, Vec<String>> {
        let mut damage = self.damage.clone();
        let rotation = match (self.phase, self.since) {
            (Some(phase), Some(since)) => Some(Rotation {
                phase,
                since,
                current: self.current.whole().cloned(),
                next: self.next.whole().cloned(),
                previous: self.previous.clone(),
                published: self.published.clone(),
                honoured: self.honoured.clone(),
            }),
            _ => {
                damage.push("phase or since is missing".to_owned());
                None
            }
        };
        if let Some(Rotation {
            phase,
            current,
            next,
            previous,
            ..
        }) = &rotation
        {
            let expects_next = matches!(phase, Phase::Publishing | Phase::Published);
            if expects_next != next.is_some() {
                let word = if expects_next {
                    "has no"
                } else {
                    "must have no"
                };
                damage.push(format!("phase {} {word} next CA", phase.label()));
            }
            if !expects_next && current.is_none() {
                damage.push(format!("phase {} has no current CA", phase.label()));
            }
            if *phase == Phase::Steady && !previous.is_empty() {
                damage.push("phase steady must have no previous CA".to_owned());
            }
        }
        match rotation {
            Some(rotation) if damage.is_empty() => Ok(rotation),
            _ => Err(damage),
        }
    }

    /// Makes a rotation of what is left. `trusted` are CAs of ours that stand in some `caBundle`,
    /// `mint` makes a new CA.
    ///
    /// What API servers may still trust stays trusted, and a CA that they cannot know yet is
    /// published before it signs, as in any rotation. Dates are not looked at: an expired CA does
    /// no harm in a bundle, and it may be this clock that is wrong. Only where nothing is trusted at all (a new
    /// installation) a new CA signs at once.
    pub(super) fn salvage<E>(
        &self,
        trusted: &[Certificate],
        now: SystemTime,
        mint: impl FnOnce() -> Result<Authority, E>,
    ) -> Result<Rotation, E> {
        let mut current = self.current.whole().cloned();
        let mut next = self.next.whole().cloned();
        if current.is_none() && next.is_none() {
            next = Some(mint()?);
        }
        let mut previous: Vec<Certificate> = Vec::new();
        let remains = self
            .current
            .remains()
            .into_iter()
            .chain(self.next.remains());
        for certificate in remains.chain(&self.previous).chain(trusted) {
            let known = [&current, &next].into_iter().flatten();
            let mut known = known
                .map(|authority| &authority.certificate)
                .chain(&previous);
            if !known.any(|known| known == certificate) {
                previous.push(certificate.clone());
            }
        }
        previous.truncate(PREVIOUS_AT_MOST);
        if current.is_none() && previous.is_empty() {
            current = next.take();
        }
        let phase = match (&next, previous.is_empty()) {
            (Some(_), _) => Phase::Publishing,
            (None, false) => Phase::Switched,
            (None, true) => Phase::Steady,
        };
        Ok(Rotation {
            phase,
            since: now,
            current,
            next,
            previous,
            published: self.published.clone(),
            honoured: self.honoured.clone(),
        })
    }
}
