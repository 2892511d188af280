//! The state of a drain and its steps.

mod observe;

use std::time::Duration;

use super::{
    Action, Observation, Outcome, Phase, Plan, Question, Reason, Server, Source, TellListeners,
    WaitFor,
    process::{Process, WATCH},
    wait::Wait,
};

/// An Envoy that nobody can reach at its hook for that long is not there, and one that is still
/// starting then serves nobody: there is nothing to drain.
pub(super) const STARTUP: Duration = Duration::from_secs(10);

/// A drain between two steps.
#[derive(Debug, Clone)]
pub struct Drain {
    plan: Plan,
    phase: Phase,
    since: Duration,
    /// When Envoy was told.
    told: Option<Duration>,
    asked: Option<(Question, Duration)>,
    /// Whether the admin has ever answered: from then on nobody there means gone.
    answered: bool,
    /// Why there is no Envoy, once that is known.
    gone: Option<&'static str>,
    failures: u32,
    /// Grows with failures and shrinks with complete looks: where every other call fails, the
    /// pauses must not stay short.
    unrest: u32,
    retry_at: Duration,
    poll_at: Duration,
    process: Process,
    listeners: Listeners,
    /// Whether to go on without the admin interface: it never answered.
    unreachable: bool,
    source: Source,
    /// How often in a row gauges and counters were hidden.
    hidden: (u32, u32),
    admin_again_at: Duration,
    wait: Wait,
}

/// What is left to do about listeners that do not follow the health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listeners {
    Look { tries: u32 },
    Tell { tries: u32 },
    Settled,
}

impl Drain {
    /// A drain whose hook has just come. `answered`: whether the admin has answered before.
    pub fn new(plan: Plan, answered: bool) -> Self {
        Self {
            plan,
            phase: Phase::Delay,
            since: Duration::ZERO,
            told: None,
            asked: None,
            answered,
            gone: None,
            failures: 0,
            unrest: 0,
            retry_at: Duration::ZERO,
            poll_at: Duration::ZERO,
            process: Process::default(),
            listeners: match plan.tell_listeners {
                TellListeners::Auto => Listeners::Look { tries: 0 },
                TellListeners::Always => Listeners::Tell { tries: 0 },
                TellListeners::Never => Listeners::Settled,
            },
            unreachable: false,
            source: Source::Admin,
            hidden: (0, 0),
            admin_again_at: Duration::ZERO,
            wait: Wait::new(plan),
        }
    }

    /// One step: what was observed, and when, gives the state after it and what to do next.
    #[must_use]
    pub fn step(mut self, observation: Observation, now: Duration) -> (Self, Action) {
        let asked = self.asked.take();
        self.observe(observation, asked, now);
        let action = self.next(now);
        match action {
            Action::Ask(question) => self.asked = Some((question, now)),
            Action::Finish(_) => self.enter(Phase::Done, now),
            Action::Sleep(_) => {}
        }
        (self, action)
    }

    /// Where the drain stands, and since when.
    pub fn phase(&self) -> (Phase, Duration) {
        (self.phase, self.since)
    }

    /// The process that is being drained, where it is known.
    pub fn server(&self) -> Option<&Server> {
        self.process.known()
    }

    /// Why it is not over yet, in words.
    pub fn words(&self, now: Duration) -> String {
        match self.phase {
            Phase::Delay => format!("drain-delay: {}", left(self.plan.delay, now)),
            Phase::Notify if self.failures > 0 => {
                format!(
                    "Envoy could not be told yet, {} tries failed",
                    self.failures
                )
            }
            Phase::Notify => "telling Envoy".to_owned(),
            Phase::Floor if self.process.is_starting() => "Envoy has not come live yet".to_owned(),
            Phase::Floor => format!("floor: {}", left(self.floor_end(), now)),
            Phase::Wait if self.failures > 0 => {
                format!(
                    "unknown what is open, {} readings failed: never taken as zero",
                    self.failures
                )
            }
            Phase::Wait => self.wait.words(now),
            Phase::Done => "done".to_owned(),
        }
    }

    fn next(&mut self, now: Duration) -> Action {
        if let Some(words) = self.gone {
            return self.finish(Reason::EnvoyGone, now, words);
        }
        if now >= self.plan.timeout {
            return self.finish(Reason::Timeout, now, "drain-timeout was reached");
        }
        if self.phase == Phase::Delay && now >= self.plan.delay {
            self.process.ask_before_telling();
            self.enter(Phase::Notify, now);
        }
        if self.phase == Phase::Notify
            && let Some(action) = self.notify(now)
        {
            return action;
        }
        if self.phase == Phase::Floor && now >= self.floor_end() {
            self.enter(Phase::Wait, now);
            self.wait.begin(now);
            self.poll_at = now;
        }
        self.watch(now)
    }

    /// Tells Envoy; `None` when that is done.
    fn notify(&mut self, now: Duration) -> Option<Action> {
        if self.unreachable {
            self.enter(Phase::Floor, now);
            return None;
        }
        if self.told.is_none() {
            if !self.process.was_asked_before_telling() {
                return Some(Action::Ask(Question::Server));
            }
            if self.failures > 0 && !self.answered && now >= STARTUP {
                return Some(self.without_admin(now));
            }
            return Some(self.ask_at(self.retry_at, Question::FailHealthCheck, now));
        }
        let question = match self.listeners {
            Listeners::Settled => None,
            _ if self.process.is_sought() => {
                return Some(self.ask_at(self.process.ask_at(), Question::Server, now));
            }
            Listeners::Look { .. } => Some(Question::Listeners),
            Listeners::Tell { .. } => self
                .process
                .keeps_listening(self.plan.timeout)
                .then_some(Question::DrainListeners),
        };
        let Some(question) = question else {
            self.enter(Phase::Floor, now);
            return None;
        };
        Some(self.ask_at(self.retry_at, question, now))
    }

    fn without_admin(&mut self, now: Duration) -> Action {
        if !self.plan.sockets {
            let words = "Envoy never answered at its admin interface";
            return self.finish(Reason::EnvoyGone, now, words);
        }
        self.unreachable = true;
        self.source = Source::Sockets;
        self.failures = 0;
        Action::Ask(Question::Sockets)
    }

    /// Looks at Envoy: now and then while nothing can be decided, closely when it can.
    fn watch(&mut self, now: Duration) -> Action {
        if self.process.is_starting() && now >= STARTUP && self.phase != Phase::Delay {
            let words = "Envoy never came live, so that nobody is connected";
            return self.finish(Reason::EnvoyGone, now, words);
        }
        if self.must_identify(now) {
            return Action::Ask(Question::Server);
        }
        let close_from = match self.plan.wait_for {
            WaitFor::Connections => None,
            WaitFor::Quiet => Some(self.floor_end().saturating_sub(self.wait.close_look())),
        };
        let in_close_look = close_from.is_some_and(|from| now >= from);
        if self.failures > 0 {
            // A look that failed begins anew.
            return self.ask_at(self.retry_at, self.first_question(now), now);
        }
        if let Some(question) = self.wait.rest_of_look() {
            return Action::Ask(question);
        }
        if self.wait.look_is_complete() {
            if self.phase == Phase::Wait
                && !self.process.is_starting()
                && let Some((reason, words)) = self.wait.verdict(now)
            {
                // The last word is about the process that was told.
                if !self.unreachable && !self.process.was_seen_since(self.wait.look_began()) {
                    return Action::Ask(Question::Ready);
                }
                return self.finish(reason, now, words);
            }
            self.poll_at = self.wait.next_look(now);
            self.wait.end_look();
            self.unrest = self.unrest.saturating_sub(1);
        }
        let see_at = self.process.see_at();
        if now >= see_at && !self.unreachable {
            return Action::Ask(Question::Ready);
        }
        // Until it matters what is open, it is enough that Envoy is there.
        let look_at = match (close_from, self.phase) {
            (Some(_), _) if in_close_look => self.poll_at,
            (Some(from), _) => from,
            (None, Phase::Wait) => self.poll_at,
            (None, _) => self.floor_end(),
        };
        let phase_end = match self.phase {
            Phase::Delay => self.plan.delay,
            Phase::Floor => self.floor_end(),
            _ => Duration::MAX,
        };
        let may_look = in_close_look || self.phase == Phase::Wait;
        if may_look && now >= look_at {
            return Action::Ask(self.first_question(now));
        }
        let see_at = if self.unreachable {
            Duration::MAX
        } else {
            see_at
        };
        self.sleep(
            [look_at, phase_end, see_at]
                .into_iter()
                .filter(|at| *at > now)
                .min()
                .unwrap_or(now + WATCH),
        )
    }

    fn must_identify(&self, now: Duration) -> bool {
        self.process.must_be_asked(now) && !self.unreachable && self.failures == 0
    }

    fn first_question(&self, now: Duration) -> Question {
        match self.source {
            Source::Sockets if self.unreachable || now < self.admin_again_at => Question::Sockets,
            _ => Question::Gauges,
        }
    }

    fn floor_end(&self) -> Duration {
        self.told.unwrap_or(self.plan.delay) + self.plan.floor()
    }

    fn ask_at(&self, at: Duration, question: Question, now: Duration) -> Action {
        if now >= at {
            Action::Ask(question)
        } else {
            self.sleep(at)
        }
    }

    fn sleep(&self, until: Duration) -> Action {
        Action::Sleep(until.min(self.plan.timeout))
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.since = now;
    }

    fn finish(&self, reason: Reason, after: Duration, words: &'static str) -> Action {
        let left = if reason == Reason::EnvoyGone {
            None
        } else {
            self.wait.open()
        };
        Action::Finish(Outcome {
            reason,
            after,
            left,
            source: self.source,
            words,
        })
    }
}

fn left(until: Duration, now: Duration) -> String {
    format!("{:.1} s left", until.saturating_sub(now).as_secs_f64())
}
