//! Which hooks belong together.
//!
//! When a pod ends, the kubelet calls the hooks of all its containers at once. An Envoy whose drain is
//! over first must then not end first: another one may still send it requests. So hooks that come
//! close to each other are one wave, and a wave is released as a whole. A hook that comes alone is
//! the restart of one container, and concerns that one alone.

use std::time::Duration;

/// Hooks of one pod's end come within milliseconds of each other, on a node under load within a
/// second.
pub(crate) const TOGETHER: Duration = Duration::from_secs(2);

/// Drains that are released together. Times are by any monotonic clock.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wave<R> {
    began: Duration,
    members: Vec<(usize, Option<R>)>,
}

impl<R: Clone> Wave<R> {
    /// A wave that begins with these Envoys.
    pub(crate) fn new(envoys: &[usize], now: Duration) -> Self {
        Self {
            began: now,
            members: envoys.iter().map(|envoy| (*envoy, None)).collect(),
        }
    }

    /// Whether this Envoy is part of it.
    pub(crate) fn has(&self, envoy: usize) -> bool {
        self.members.iter().any(|(member, _)| *member == envoy)
    }

    /// Takes one more, where its hook came together with the first.
    pub(crate) fn join(&mut self, envoy: usize, now: Duration) -> bool {
        let together = now <= self.began + TOGETHER;
        if together && !self.has(envoy) {
            self.members.push((envoy, None));
        }
        together
    }

    /// The drain of this Envoy is over.
    pub(crate) fn ended(&mut self, envoy: usize, report: R) {
        if let Some((_, slot)) = self.members.iter_mut().find(|(member, _)| *member == envoy) {
            *slot = Some(report);
        }
    }

    /// When it can be released: `None` while a drain runs, else not before all hooks that belong to
    /// it may have come.
    pub(crate) fn release_at(&self, envoys: usize) -> Option<Duration> {
        if self.members.iter().any(|(_, report)| report.is_none()) {
            return None;
        }
        let complete = self.members.len() == envoys;
        Some(if complete {
            self.began
        } else {
            self.began + TOGETHER
        })
    }

    /// The reports, in the order of the hooks.
    pub(crate) fn reports(&self) -> Vec<R> {
        self.members
            .iter()
            .filter_map(|(_, report)| report.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn hooks_that_come_together_are_released_together() {
        let mut wave = Wave::new(&[0], S(10));
        assert!(wave.join(1, S(12)));
        wave.ended(0, "inner");
        assert_eq!(wave.release_at(2), None);
        wave.ended(1, "outer");
        assert_eq!(wave.release_at(2), Some(S(10)));
        assert_eq!(wave.reports(), ["inner", "outer"]);
    }

    #[test]
    fn a_hook_that_comes_later_is_not_part_of_it() {
        let mut wave = Wave::<()>::new(&[0], S(10));
        assert!(!wave.join(1, S(12) + Duration::from_millis(1)));
        assert!(!wave.has(1));
    }

    #[test]
    fn an_early_end_waits_for_the_hooks_that_may_still_come() {
        let mut wave = Wave::new(&[0], S(10));
        wave.ended(0, ());
        assert_eq!(wave.release_at(2), Some(S(12)));
        // Where there is only one Envoy nobody else can come.
        assert_eq!(wave.release_at(1), Some(S(10)));
    }

    #[test]
    fn the_same_hook_twice_is_one_member() {
        let mut wave = Wave::new(&[0], S(0));
        assert!(wave.join(0, S(1)));
        wave.ended(0, ());
        assert_eq!(wave.reports(), [()]);
        assert_eq!(wave.release_at(1), Some(S(0)));
    }
}
