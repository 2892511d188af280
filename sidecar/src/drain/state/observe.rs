//! What an answer, or the lack of one, says about Envoy.
//!
//! Apart from the steps, since it decides nothing: it only keeps what is known, and counts what failed.

use std::time::Duration;

use super::super::process::{Identity, TRIES};
use super::super::{Observation, Question, Server, Source};
use super::{Drain, Listeners};

/// First and longest pause after a failure. The first is short since a broken connection is how the
/// end of Envoy begins, and the next try tells.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Ten failures in a row are as bad as it gets.
const MOST_UNREST: u32 = 20;

/// One answer without stats may be an accident; so many are a configuration that hides them.
const HIDDEN_FOR_CERTAIN: u32 = 3;

/// How often to try Envoy's figures again where the kernel's stand in for them.
const ADMIN_AGAIN: Duration = Duration::from_secs(5);

impl Drain {
    /// Takes what came of an action.
    pub(super) fn observe(
        &mut self,
        observation: Observation,
        asked: Option<(Question, Duration)>,
        now: Duration,
    ) {
        let Some((question, asked_at)) = asked else {
            return;
        };
        match observation {
            // The bound came before the answer, or nobody asked.
            Observation::Time => return,
            Observation::Refused if self.answered => {
                self.gone = Some("Envoy is gone: its admin interface refuses connections");
            }
            Observation::Refused | Observation::Unknown => return self.failed(question, now),
            Observation::Hidden => return self.hidden(question, now),
            Observation::Told if question == Question::FailHealthCheck => self.told = Some(now),
            Observation::Told => self.listeners = Listeners::Settled,
            Observation::Server(server) => return self.identify(server, now),
            Observation::Ready { is_live } => return self.seen(is_live, now),
            Observation::Listeners { modify_only: true } => {
                self.listeners = Listeners::Tell { tries: 0 };
            }
            Observation::Listeners { modify_only: false } => self.listeners = Listeners::Settled,
            Observation::Gauges(open) => {
                self.source = Source::Admin;
                self.hidden.0 = 0;
                self.wait.gauges(open, now, asked_at);
            }
            Observation::Counters(arrived) => {
                self.hidden.1 = 0;
                self.wait.counters(arrived, now, asked_at);
            }
            Observation::Sockets {
                listening,
                open,
                arrived,
            } => {
                self.wait.sockets(open, arrived, now, asked_at);
                if listening == 0 && !self.answered {
                    self.gone = Some("Envoy never answered, and nobody listens in this pod");
                }
            }
        }
        self.answered |= !matches!(observation, Observation::Sockets { .. });
        // After an outage it may be another process that answers.
        self.process.answered(!self.unreachable);
        self.failures = 0;
    }

    fn failed(&mut self, question: Question, now: Duration) {
        match question {
            // It stays unknown, but there are other signs of an end.
            Question::Server => return self.process.not_identified(now),
            Question::Ready => return self.process.not_seen(now),
            _ => self.process.lose_sight(),
        }
        let (first, longest) = RETRY;
        let pause = first.saturating_mul(1 << (self.unrest / 2)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.unrest = (self.unrest + 2).min(MOST_UNREST);
        self.retry_at = now + pause;
        self.wait.unknown();
        match (question, &mut self.listeners) {
            (Question::Listeners, Listeners::Look { tries })
            | (Question::DrainListeners, Listeners::Tell { tries }) => {
                *tries += 1;
                if *tries == TRIES {
                    self.listeners = Listeners::Settled;
                }
            }
            _ => {}
        }
    }

    /// Stats are missing that every Envoy has. The kernel's figures stand in for gauges; nothing
    /// stands in for counters, so that anything may have arrived until now.
    fn hidden(&mut self, question: Question, now: Duration) {
        self.answered = true;
        let times = match question {
            Question::Counters => &mut self.hidden.1,
            _ => &mut self.hidden.0,
        };
        *times = times.saturating_add(1);
        if *times < HIDDEN_FOR_CERTAIN {
            return self.failed(question, now);
        }
        match question {
            Question::Counters => self.wait.counters_hidden(now),
            Question::Gauges if self.plan.sockets => {
                self.source = Source::Sockets;
                self.admin_again_at = now + ADMIN_AGAIN;
            }
            _ => return self.failed(question, now),
        }
        self.failures = 0;
    }

    /// Envoy was asked whether it is ready: after it was told, it is not.
    fn seen(&mut self, is_live: bool, now: Duration) {
        self.answered = true;
        self.process.seen(is_live, self.told.is_some(), now);
    }

    fn identify(&mut self, server: Server, now: Duration) {
        self.answered = true;
        if self.process.identify(server, self.told.is_some(), now) == Identity::Other {
            self.gone = Some("Envoy was restarted: the new process is left alone");
        }
    }
}
