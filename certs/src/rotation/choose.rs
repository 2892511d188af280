//! Which CA a replica signs with.

use std::time::SystemTime;

use super::Rotation;
use crate::authority::Authority;

impl Rotation {
    /// The CA to sign with, for a replica that so far signed with `held`. None where none is of any
    /// use: then whatever is served is served on.
    ///
    /// Every replica judges by its own clock, so one wrong clock in the publisher cannot make all
    /// of them serve what nobody accepts:
    ///
    /// 1. the current CA where it is valid, and either known to be published or the only choice;
    /// 2. else the one that was signed with so far, while that is valid;
    /// 3. else the next one: it is on its way into every `caBundle`.
    #[must_use]
    pub fn choose<'a>(
        &'a self,
        held: Option<&'a Authority>,
        now: SystemTime,
    ) -> Option<&'a Authority> {
        let valid = |authority: &&Authority| authority.certificate.validity.contains(now);
        let held = held.filter(valid);
        let current = self.current.as_ref().filter(valid);
        let published = |authority: &&Authority| self.published.contains(&authority.certificate);
        match held {
            Some(held) => Some(current.filter(published).unwrap_or(held)),
            None => current.or_else(|| self.next.as_ref().filter(valid)),
        }
    }
}
