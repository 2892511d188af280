//! For how long this process itself has seen every `caBundle` right.

use std::time::{Duration, SystemTime};

use super::{Phase, Rotation};

/// Counts on the monotonic clock how long one phase has stood with every `caBundle` right.
///
/// The Secret has the wall clock's time of the phase, but a wall clock jumps: an hour forward, and
/// the overlap would be over before any API server learned of the new CA. So both have to agree. A
/// publisher that was restarted counts from zero; a rotation has months to wait for it.
#[derive(Debug, Default)]
pub struct Watched(Option<(Phase, SystemTime, Duration)>);

impl Watched {
    /// Takes note of what was seen at `instant` (since any fixed moment, monotonic) and tells for
    /// how long it has stood. `right`: whether all were; none where that could not be seen, which
    /// neither counts nor begins anew.
    pub fn see(
        &mut self,
        rotation: Option<&Rotation>,
        right: Option<bool>,
        instant: Duration,
    ) -> Duration {
        let (Some(rotation), Some(true) | None) = (rotation, right) else {
            self.0 = None;
            return Duration::ZERO;
        };
        match self.0 {
            Some((phase, since, from)) if (phase, since) == (rotation.phase, rotation.since) => {
                instant.saturating_sub(from)
            }
            _ => {
                let begins = right.map(|_| (rotation.phase, rotation.since, instant));
                self.0 = begins;
                Duration::ZERO
            }
        }
    }
}
