//! How long certificates live, and when each step of a rotation is due.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a CA is valid after it was made. Only the publisher can renew it, and the publisher may be broken for
/// long without anybody noticing: with [`AUTHORITY_ROTATION`] there are eleven months to notice.
pub const AUTHORITY: Duration = DAY.saturating_mul(365);

/// Age at which a CA is replaced. A rotation that happens once a year is one that nobody has seen
/// work; once a month it is routine.
pub const AUTHORITY_ROTATION: Duration = DAY.saturating_mul(30);

/// How long a new CA stands in every `caBundle` before anything is signed with it. API servers
/// learn of a changed configuration by a watch and acknowledge nothing; one that is cut off from
/// etcd or restarting takes minutes.
pub const OVERLAP: Duration = MINUTE.saturating_mul(10);

/// How long a replica's own certificate is valid. It bounds how long the old CA has to stay
/// trusted after a switch (see [`Lifetimes::retirement`]), and what a stolen key is good for.
pub const LEAF: Duration = DAY;

/// Age at which a replica mints itself another certificate. A replica needs nobody for that, so a
/// third of the lifetime is not for the sake of retries: it leaves two thirds to a clock that
/// jumps and to a machine that was suspended.
pub const LEAF_RENEWAL: Duration = HOUR.saturating_mul(8);

/// How far before the moment of issue a leaf begins to be valid, for API servers whose clocks are
/// behind that of the replica. (A CA begins a whole lifetime before.)
pub const BACKDATE: Duration = HOUR;

/// X.509 counts in whole seconds; anything shorter would round to nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// How often, at most and at least, something that is due is looked for. At most: a caBundle that
/// was overwritten while the watch was broken is to be healed within seconds.
const TICK_LONGEST: Duration = Duration::from_secs(5);
const TICK_SHORTEST: Duration = Duration::from_millis(50);

/// The lifetimes of one installation. Every replica and publisher of it uses the same.
///
/// The default is made of this module's constants. Tests shorten all of them; [`Self::validate`]
/// holds for those too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// See [`AUTHORITY`].
    pub authority: Duration,
    /// See [`AUTHORITY_ROTATION`].
    pub authority_rotation: Duration,
    /// See [`OVERLAP`].
    pub overlap: Duration,
    /// See [`LEAF`].
    pub leaf: Duration,
    /// See [`LEAF_RENEWAL`].
    pub leaf_renewal: Duration,
    /// See [`BACKDATE`]. May be zero.
    pub backdate: Duration,
}

/// Lifetimes that do not fit together, all faults at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct LifetimesError(Vec<String>);

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            authority: AUTHORITY,
            authority_rotation: AUTHORITY_ROTATION,
            overlap: OVERLAP,
            leaf: LEAF,
            leaf_renewal: LEAF_RENEWAL,
            backdate: BACKDATE,
        }
    }
}

impl Lifetimes {
    /// How long the old CA stays trusted after the switch to the new one.
    ///
    /// A replica that has not heard of the switch may have minted from the old CA at the last
    /// moment before it: that certificate lives for [`Self::leaf`]. The overlap on top is for
    /// replicas that heard of it late.
    #[must_use]
    pub fn retirement(&self) -> Duration {
        self.leaf.saturating_add(self.overlap)
    }

    /// How often to look whether something is due.
    #[must_use]
    pub fn tick(&self) -> Duration {
        let shortest = self
            .overlap
            .min(self.leaf_renewal)
            .min(self.authority_rotation);
        (shortest / 10).clamp(TICK_SHORTEST, TICK_LONGEST)
    }

    /// Checks that each lifetime is long enough for what has to happen within it.
    ///
    /// # Errors
    /// Names every relation that does not hold, with both values.
    pub fn validate(self) -> Result<Self, LifetimesError> {
        let mut faults = Vec::new();
        let named = [
            ("the CA's lifetime", self.authority),
            ("the CA's rotation", self.authority_rotation),
            ("the overlap", self.overlap),
            ("the leaf's lifetime", self.leaf),
            ("the leaf's renewal", self.leaf_renewal),
        ];
        for (name, value) in named {
            if value < SHORTEST {
                faults.push(format!("{name} ({}) is under one second", written(value)));
            }
        }
        let mut less = |what: &str, small: Duration, than: &str, large: Duration| {
            if small > large {
                let (small, large) = (written(small), written(large));
                faults.push(format!("{what} ({small}) has to fit into {than} ({large})"));
            }
        };
        less(
            "twice the leaf's renewal",
            self.leaf_renewal.saturating_mul(2),
            "the leaf's lifetime",
            self.leaf,
        );
        // A rotation is over (published, switched, dropped) before the next one is due.
        less(
            "a whole rotation: overlap, leaf's lifetime, overlap",
            self.overlap.saturating_add(self.retirement()),
            "the CA's rotation",
            self.authority_rotation,
        );
        // The old CA signs until the switch, and what it signed last outlives that by a leaf.
        less(
            "the CA's rotation, the overlap and the leaf's lifetime",
            self.authority_rotation.saturating_add(self.retirement()),
            "the CA's lifetime",
            self.authority,
        );
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(LifetimesError(faults))
        }
    }
}

fn written(value: Duration) -> String {
    humantime::format_duration(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        let lifetimes = Lifetimes::default().validate().unwrap();
        assert_eq!(lifetimes.retirement(), DAY + 10 * MINUTE);
        assert_eq!(lifetimes.tick(), TICK_LONGEST);
    }

    #[test]
    fn every_relation_that_does_not_hold_is_named_at_once() {
        let faults = Lifetimes {
            authority: HOUR,
            authority_rotation: HOUR,
            overlap: Duration::ZERO,
            leaf: 2 * HOUR,
            leaf_renewal: 90 * MINUTE,
            backdate: Duration::ZERO,
        }
        .validate()
        .unwrap_err()
        .to_string();
        assert_eq!(
            faults,
            "the overlap (0s) is under one second; \
             twice the leaf's renewal (3h) has to fit into the leaf's lifetime (2h); \
             a whole rotation: overlap, leaf's lifetime, overlap (2h) has to fit into \
             the CA's rotation (1h); the CA's rotation, the overlap and the leaf's lifetime (3h) \
             has to fit into the CA's lifetime (1h)"
        );
    }

    #[test]
    fn lifetimes_of_seconds_fit_together_too() {
        let seconds = Duration::from_secs;
        let lifetimes = Lifetimes {
            authority: seconds(20),
            authority_rotation: seconds(4),
            overlap: seconds(1),
            leaf: seconds(2),
            leaf_renewal: seconds(1),
            backdate: seconds(0),
        };
        assert_eq!(lifetimes.validate(), Ok(lifetimes));
        assert_eq!(lifetimes.tick(), Duration::from_millis(100));
    }
}
