//! Which process is being drained, and when to doubt that it still is the same one.
//!
//! What is told to one process must not be taken for told to the next. Whether it is the same one
//! depends on a few answers and on nothing that is open or in flight, so it is kept apart from the
//! steps of the drain, which ask here only what must be asked, and when.

use std::time::Duration;

use super::Server;

/// How often to try what is good to know, but what a drain can do without.
pub(super) const TRIES: u32 = 3;

/// Between two looks while nothing can be decided yet: only to see that Envoy is still there.
pub(super) const WATCH: Duration = Duration::from_secs(1);

/// `skip_exit` came with Envoy 1.28. Before, listeners would stop after `--drain-time-s`.
const SKIP_EXIT_SINCE: (u32, u32) = (1, 28);

/// What is known of the process, and what speaks against it.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    known: Option<Server>,
    is_starting: bool,
    /// Readings failed since it was last seen.
    lost_sight: bool,
    /// Ask again: it may be another one.
    doubted: bool,
    /// It is the one that was told, and ready all the same: somebody took the telling back.
    untold: bool,
    /// It was asked just before it was told.
    asked_before_telling: bool,
    tries: u32,
    ask_at: Duration,
    /// When it was last found to be the one that was told, or could not be asked.
    seen_at: Option<Duration>,
}

/// Who has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// The first process that is known, or that one again.
    Same,
    /// Another process than the known one.
    Other,
}

impl Process {
    /// The process, where it is known.
    pub(super) fn known(&self) -> Option<&Server> {
        self.known.as_ref()
    }

    /// Whether it has not come live yet.
    pub(super) fn is_starting(&self) -> bool {
        self.is_starting
    }

    /// Whether it is not known yet, and another try may tell.
    pub(super) fn is_sought(&self) -> bool {
        self.known.is_none() && self.tries < TRIES
    }

    /// Whether to ask now which process it is.
    pub(super) fn must_be_asked(&self, now: Duration) -> bool {
        let asked_for = self.doubted || self.is_starting || self.is_sought();
        asked_for && now >= self.ask_at
    }

    /// When to ask next which process it is.
    pub(super) fn ask_at(&self) -> Duration {
        self.ask_at
    }

    /// When to look next whether it is still there.
    pub(super) fn see_at(&self) -> Duration {
        self.seen_at
            .map_or(Duration::ZERO, |seen_at| seen_at + WATCH)
    }

    /// Whether it was seen at that time or later.
    pub(super) fn was_seen_since(&self, at: Option<Duration>) -> bool {
        self.seen_at >= at
    }

    /// Whether it was asked, with or without an answer, since [`Process::ask_before_telling`].
    pub(super) fn was_asked_before_telling(&self) -> bool {
        self.asked_before_telling
    }

    /// Whether listeners accept connections to the end after `drain_listeners?graceful&skip_exit`.
    pub(super) fn keeps_listening(&self, timeout: Duration) -> bool {
        let Some(server) = self.known else {
            return false;
        };
        let knows_skip_exit = server
            .version
            .is_some_and(|version| version >= SKIP_EXIT_SINCE);
        knows_skip_exit || server.drain_time.is_some_and(|time| time >= timeout)
    }

    /// It is about to be told: what was asked long ago does not count.
    pub(super) fn ask_before_telling(&mut self) {
        self.asked_before_telling = false;
    }

    /// Something answered. After an outage it may be another process, which is worth a question
    /// where one can be asked at all.
    pub(super) fn answered(&mut self, can_be_asked: bool) {
        let lost_sight = std::mem::take(&mut self.lost_sight);
        self.doubted |= lost_sight && self.tries < TRIES && can_be_asked;
    }

    /// A reading failed.
    pub(super) fn lose_sight(&mut self) {
        self.lost_sight = true;
    }

    /// It did not say which process it is.
    pub(super) fn not_identified(&mut self, now: Duration) {
        self.tries += 1;
        self.ask_at = now + WATCH;
        self.asked_before_telling = true;
        self.doubted &= self.tries < TRIES;
    }

    /// It did not say whether it is ready.
    pub(super) fn not_seen(&mut self, now: Duration) {
        self.seen_at = Some(now);
        self.lost_sight = true;
    }

    /// It said whether it is ready: after it was told, it is not.
    pub(super) fn seen(&mut self, is_live: bool, was_told: bool, now: Duration) {
        self.seen_at = Some(now);
        let doubted = is_live && was_told && !self.untold;
        if doubted && !self.doubted {
            self.doubted = true;
            // At once: this may have been the question before the last word.
            self.ask_at = now;
        }
    }

    /// It said which process it is.
    pub(super) fn identify(&mut self, server: Server, was_told: bool, now: Duration) -> Identity {
        self.ask_at = now + WATCH;
        self.asked_before_telling = true;
        self.seen_at = Some(now);
        self.doubted = false;
        self.tries = 0;
        self.is_starting = !server.is_live;
        match self.known {
            Some(known) if known.is_other(&server) => return Identity::Other,
            Some(_) => self.untold = was_told && server.is_live && server.is_ready,
            None => self.known = Some(server),
        }
        Identity::Same
    }
}

impl Server {
    /// Whether the other is another process than this.
    fn is_other(&self, other: &Self) -> bool {
        other.restart_epoch != self.restart_epoch || other.started.0 > self.started.1
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{ms, process, s};
    use super::*;

    /// A process that is known, was told, and has been lost from sight since.
    fn doubted() -> Process {
        let mut doubted = Process::default();
        doubted.identify(process(1_000), false, s(0));
        doubted.lose_sight();
        doubted.answered(true);
        doubted
    }

    #[test]
    fn an_unknown_one_is_asked_three_times_in_all_whatever_happens() {
        let mut unknown = Process::default();
        for second in 0..3 {
            assert!(unknown.is_sought() && unknown.must_be_asked(s(second)));
            unknown.not_identified(s(second));
            assert!(!unknown.must_be_asked(s(second) + ms(999)));
        }
        assert!(!unknown.is_sought() && !unknown.must_be_asked(s(60)));
        unknown.lose_sight();
        unknown.answered(true);
        assert!(!unknown.must_be_asked(s(60)));
    }

    #[test]
    fn a_doubted_one_is_asked_until_it_says_or_has_been_silent_three_times() {
        let mut silent = doubted();
        for second in 1..4 {
            assert!(silent.must_be_asked(s(second)), "{second}");
            silent.not_identified(s(second));
        }
        assert!(!silent.must_be_asked(s(60)));
        let mut says = doubted();
        assert_eq!(says.identify(process(1_000), true, s(1)), Identity::Same);
        assert!(!says.must_be_asked(s(60)));
        // Where nobody can be asked there is no use in doubting.
        let mut out_of_reach = Process::default();
        out_of_reach.identify(process(1_000), false, s(0));
        out_of_reach.lose_sight();
        out_of_reach.answered(false);
        assert!(!out_of_reach.must_be_asked(s(60)));
    }

    #[test]
    fn one_that_is_ready_though_it_was_told_is_asked_once() {
        let again = |is_live, is_ready, was_told| {
            let mut known = Process::default();
            known.identify(process(1_000), false, s(0));
            let server = Server {
                is_live,
                is_ready,
                ..process(1_000)
            };
            known.identify(server, was_told, s(1));
            known.seen(true, true, s(2));
            !known.is_starting() && !known.must_be_asked(s(2))
        };
        // The same one, and somebody took the telling back: nothing to ask.
        assert!(again(true, true, true));
        assert!(!again(true, false, true));
        assert!(!again(true, true, false));
        assert!(!again(false, true, true));
    }

    #[test]
    fn another_one_is_one_that_certainly_started_later() {
        // Envoy tells its uptime in whole seconds, so that a start is known within bounds.
        let known = process(1_000);
        assert!(!known.is_other(&process(1_001)));
        assert!(!known.is_other(&process(1_002)));
        assert!(known.is_other(&process(1_003)));
        let hot = Server {
            restart_epoch: 1,
            ..known
        };
        assert!(known.is_other(&hot));
    }
}
