//! When the wait is over: what is open, what has arrived and when, and what follows from it.

use std::time::Duration;

use super::{Plan, Question, Reason, WaitFor};
use crate::reading::{Arrived, Open};

/// Between two close looks. The end is due at a moment, and half a second later it must have
/// happened: what is noticed this much late leaves room for the rest.
const LOOK: Duration = Duration::from_millis(150);

/// A look that costs Envoy's main thread a lot (a big configuration, a tight CPU limit) is taken
/// less often: a fifth of the time at most, and with no longer pause than this.
const RAREST_LOOK: Duration = Duration::from_secs(1);
const COST_FACTOR: u32 = 4;

/// Counters decide nothing while requests are in flight, but must be known when the last one ends:
/// else the quiet time could only begin then. So every second look reads them too.
const COUNTERS_IN_FLIGHT: Duration = Duration::from_millis(250);

/// The figures, and the rules.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    plan: Plan,
    open: Option<Open>,
    arrived: Option<Arrived>,
    counters_at: Option<Duration>,
    /// Until then all that has come is known: when the last question of the look was asked. Its answer may be
    /// heard much later, where we get no processor, and what comes meanwhile is not in it.
    known_until: Duration,
    look_began: Option<Duration>,
    /// `None`: nothing ever came.
    last_arrival: Option<Duration>,
    last_request: Option<Duration>,
    /// Requests were in flight at the last look.
    was_busy: bool,
    /// Since when nothing but upgrades and TCP connections holds up the end.
    held_since: Option<Duration>,
    begun: Duration,
    check_at: Option<Duration>,
    look: Look,
    cost: Duration,
}

/// One look: gauges first, then counters where they are needed. In this order nothing is missed:
/// a request that comes after the gauges were read is in the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    None,
    Gauges,
    Complete,
}

impl Wait {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            open: None,
            arrived: None,
            counters_at: None,
            known_until: Duration::ZERO,
            look_began: None,
            last_arrival: None,
            last_request: None,
            was_busy: false,
            held_since: None,
            begun: Duration::ZERO,
            check_at: None,
            look: Look::None,
            cost: Duration::ZERO,
        }
    }

    /// The floor is over.
    pub(super) fn begin(&mut self, now: Duration) {
        self.begun = now;
        if self.plan.wait_for == WaitFor::Connections {
            self.check_at = Some(now);
        }
    }

    /// How long before the end of the floor looks must be close, so that nothing is left to find out
    /// when it is over.
    pub(super) fn close_look(&self) -> Duration {
        self.plan.quiet.max(self.plan.idle_quiet) + LOOK
    }

    pub(super) fn gauges(&mut self, open: Open, now: Duration, asked_at: Duration) {
        let busy = open.requests > 0;
        if busy || self.was_busy {
            // The end of a request is a sign of life like its beginning.
            self.last_request = Some(now);
        }
        self.was_busy = busy;
        self.open = Some(open);
        self.cost = now.saturating_sub(asked_at);
        self.look_began = Some(asked_at);
        self.known_until = asked_at;
        let known_enough = busy
            && self
                .counters_at
                .is_some_and(|at| now < at + COUNTERS_IN_FLIGHT);
        self.look = if known_enough {
            Look::Complete
        } else {
            Look::Gauges
        };
    }

    pub(super) fn counters(&mut self, arrived: Arrived, now: Duration, asked_at: Duration) {
        // What came before the first look came just now, for all we know; unless nothing ever did.
        let before = self.arrived.replace(arrived).unwrap_or_default();
        // Differing, not growing: a listener that was removed or a reset of the counters is no
        // reason to stop watching.
        if before.connections != arrived.connections {
            self.last_arrival = Some(now);
        }
        if before.requests != arrived.requests {
            self.last_request = Some(now);
        }
        self.counters_at = Some(now);
        self.known_until = asked_at;
        self.cost = self.cost.saturating_add(now.saturating_sub(asked_at));
        self.look = Look::Complete;
    }

    /// Without counters anything may have arrived until now.
    pub(super) fn counters_hidden(&mut self, now: Duration) {
        self.counters_at = Some(now);
        self.last_arrival = Some(now);
        self.last_request = Some(now);
        self.look = Look::Complete;
    }

    /// The kernel sees connections and not what happens on them: each may carry a request.
    pub(super) fn sockets(&mut self, open: u64, arrived: u64, now: Duration, asked_at: Duration) {
        let open = Open {
            connections: open,
            requests: open,
            upgrades: 0,
            other: 0,
        };
        let arrived = Arrived {
            connections: arrived,
            requests: 0,
        };
        self.gauges(open, now, asked_at);
        self.counters(arrived, now, asked_at);
    }

    /// A look failed: what was known before is not known now.
    pub(super) fn unknown(&mut self) {
        self.open = None;
        self.look = Look::None;
    }

    /// What was open at the last look, where it succeeded.
    pub(super) fn open(&self) -> Option<Open> {
        self.open
    }

    pub(super) fn rest_of_look(&self) -> Option<Question> {
        (self.look == Look::Gauges).then_some(Question::Counters)
    }

    pub(super) fn look_is_complete(&self) -> bool {
        self.look == Look::Complete
    }

    pub(super) fn look_began(&self) -> Option<Duration> {
        self.look_began
    }

    pub(super) fn end_look(&mut self) {
        self.look = Look::None;
    }

    /// Whether the wait is over, after a complete look.
    pub(super) fn verdict(&mut self, now: Duration) -> Option<(Reason, &'static str)> {
        let open = self.open?;
        let few = open.connections <= self.plan.min_open;
        if self.plan.wait_for == WaitFor::Connections {
            return self.classic_verdict(few, now);
        }
        if self.plan.min_open > 0 && few && self.known_until >= self.arrivals_due() {
            return Some((
                Reason::Drained,
                "no more than min-open-connections are open",
            ));
        }
        if open.requests > 0 || self.known_until < self.due() {
            return None;
        }
        if open.upgrades == 0 && open.other == 0 {
            return Some(if open.connections == 0 {
                (Reason::Drained, "no connection is open")
            } else {
                (Reason::Quiet, "only idle connections are open")
            });
        }
        let held_since = *self.held_since.get_or_insert(now);
        (now >= held_since + self.plan.upgrade_timeout)
            .then_some((Reason::Capped, "upgrade-timeout was reached"))
    }

    /// When to look again, after a complete close look that was not the last.
    pub(super) fn next_look(&self, now: Duration) -> Duration {
        // The classic loop, whose verdict has just set the next check to the same moment; while Envoy
        // starts there is none.
        if self.check_at.is_some() {
            return now + self.plan.check_interval;
        }
        let pause = (self.cost * COST_FACTOR).min(RAREST_LOOK);
        let usual = (self.look_began.unwrap_or(now) + LOOK).max(now + pause);
        // At the very moment at which it may be over: not a look's time later. It may have passed while the
        // answers came, which then do not tell of it.
        let held = self
            .held_since
            .map(|since| since + self.plan.upgrade_timeout);
        [Some(self.due()), Some(self.arrivals_due()), held]
            .into_iter()
            .flatten()
            .filter(|moment| *moment > self.known_until)
            .fold(usual, Duration::min)
    }

    /// Why it is not over yet, in words.
    pub(super) fn words(&self, now: Duration) -> String {
        let Some(open) = self.open else {
            return "looking".to_owned();
        };
        let Open {
            connections,
            requests,
            upgrades,
            other,
        } = open;
        if let Some(at) = self.check_at {
            let next = at.saturating_sub(now).as_secs_f64();
            return format!("{connections} connections are open, next check in {next:.1} s");
        }
        if requests > 0 {
            format!("{requests} requests are in flight")
        } else if now < self.due() || upgrades + other == 0 {
            let ago = |moment: Option<Duration>| match moment {
                Some(moment) => format!("{:.1} s ago", now.saturating_sub(moment).as_secs_f64()),
                None => "never".to_owned(),
            };
            let (arrival, request) = (ago(self.last_arrival), ago(self.last_request));
            format!("last connection: {arrival}, last request: {request}")
        } else {
            format!("{upgrades} upgrades and {other} connections that are not HTTP are open")
        }
    }

    /// The classic loop: look, done at `min-open-connections`, else wait `check-interval`.
    fn classic_verdict(&mut self, few: bool, now: Duration) -> Option<(Reason, &'static str)> {
        let due = self.check_at.is_none_or(|at| now >= at);
        if due && few {
            return Some((
                Reason::Drained,
                "no more than min-open-connections are open",
            ));
        }
        if due {
            self.check_at = Some(now + self.plan.check_interval);
        }
        None
    }

    /// When it may be over, as far as is known now and nothing is in flight.
    fn due(&self) -> Duration {
        let requests = self
            .last_request
            .map_or(Duration::ZERO, |last| last + self.plan.idle_quiet);
        self.arrivals_due().max(requests.min(self.arrivals_end()))
    }

    fn arrivals_due(&self) -> Duration {
        let arrivals = self
            .last_arrival
            .map_or(Duration::ZERO, |last| last + self.plan.quiet);
        arrivals.min(self.arrivals_end()).max(self.begun)
    }

    /// From here on what comes and goes no longer holds up the end: a load balancer's health checks
    /// may go on for ever. Requests are meant as well as connections: Envoy closes each HTTP/1
    /// connection after its next response, so a check is a new connection with a request each time.
    fn arrivals_end(&self) -> Duration {
        self.begun + self.plan.arrivals_timeout
    }
}
