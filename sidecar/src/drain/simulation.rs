//! An Envoy and its clients on paper, and a clock to run a drain against them.

use std::time::Duration;

use super::{Action, Drain, Observation, Outcome, Phase, Plan, Question, Server};
use crate::reading::{Arrived, Open};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A connection of a client; times are since the hook.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) opened: Duration,
    pub(super) closed: Duration,
    pub(super) kind: Kind,
}

/// What happens on a connection.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Requests from and to.
    Http(Vec<(Duration, Duration)>),
    /// A websocket from its first moment on.
    Upgrade,
    /// Not HTTP.
    Tcp,
}

pub(super) const FOREVER: Duration = Duration::from_secs(1_000_000);

/// Was open before the hook came, and stays.
pub(super) fn kept(kind: Kind) -> Connection {
    Connection {
        opened: Duration::ZERO,
        closed: FOREVER,
        kind,
    }
}

/// Clients that never come.
pub(super) fn nobody() -> Vec<Connection> {
    Vec::new()
}

/// What Envoy does when it is asked, where that is not simply answering: `None` is the usual answer.
pub(super) type Fault<'a> = &'a mut dyn FnMut(Question, Duration) -> Option<Observation>;

/// How a drain went.
pub(super) struct Run {
    pub(super) outcome: Outcome,
    pub(super) asked: Vec<(Duration, Question)>,
    pub(super) phases: Vec<Phase>,
    /// When the last look that was answered was taken, by Envoy's clock.
    pub(super) last_look: Duration,
    /// What it said of itself after each step.
    words: Vec<(Duration, String)>,
    /// The process that it took Envoy for.
    pub(super) server: Option<Server>,
}

impl Run {
    pub(super) fn count(&self, question: Question) -> usize {
        self.asked
            .iter()
            .filter(|(_, asked)| *asked == question)
            .count()
    }

    /// What it said last until that moment, and since when.
    pub(super) fn words(&self, at: Duration) -> (Duration, &str) {
        let until = self.words.iter().rfind(|(said, _)| *said <= at);
        until.map_or((Duration::ZERO, ""), |(said, words)| (*said, words))
    }

    pub(super) fn first(&self, question: Question) -> Option<Duration> {
        self.asked
            .iter()
            .find(|(_, asked)| *asked == question)
            .map(|(at, _)| *at)
    }
}

pub(super) fn run(plan: Plan, clients: &[Connection]) -> Run {
    run_with(plan, true, clients, ms(4), &mut |_, _| None)
}

/// Runs a drain to its end. Each call takes `latency`, half of it there and half of it back.
pub(super) fn run_with(
    plan: Plan,
    answered: bool,
    clients: &[Connection],
    latency: Duration,
    fault: Fault<'_>,
) -> Run {
    let mut now = Duration::ZERO;
    let mut drain = Drain::new(plan, answered);
    let mut observation = Observation::Time;
    let mut asked = Vec::new();
    let mut phases = vec![drain.phase().0];
    let mut last_look = Duration::ZERO;
    let mut words = Vec::new();

    for _ in 0..200_000 {
        let (next, action) = drain.step(observation, now);
        drain = next;
        words.push((now, drain.words(now)));
        if phases.last() != Some(&drain.phase().0) {
            phases.push(drain.phase().0);
        }
        observation = match action {
            Action::Finish(outcome) => {
                return Run {
                    outcome,
                    asked,
                    phases,
                    last_look,
                    words,
                    server: drain.server().copied(),
                };
            }
            Action::Sleep(until) => {
                assert!(
                    until > now,
                    "a sleep until {until:?} at {now:?} goes round in circles"
                );
                now = until;
                Observation::Time
            }
            Action::Ask(question) => {
                asked.push((now, question));
                let at = now + latency / 2;

                let answer = fault(question, at);
                let known = answer.is_none();
                let answer = answer.unwrap_or_else(|| usual(question, clients, at));
                now += latency;
                if now >= plan.timeout {
                    now = plan.timeout;
                    Observation::Time
                } else {
                    if known && matches!(question, Question::Gauges | Question::Sockets) {
                        last_look = at;
                    }
                    answer
                }
            }
        };
    }
    panic!("no end after 200,000 steps");
}

/// An Envoy process that started at a moment of the system's clock.
pub(super) fn process(started: i64) -> Server {
    Server {
        is_live: true,
        is_ready: false,
        started: (started - 1, started + 1),
        restart_epoch: 0,
        version: Some((1, 40)),
        drain_time: Some(s(600)),
    }
}

fn usual(question: Question, clients: &[Connection], at: Duration) -> Observation {
    match question {
        Question::Server => Observation::Server(process(1_000)),
        Question::Ready => Observation::Ready { is_live: false },
        Question::FailHealthCheck | Question::DrainListeners => Observation::Told,
        Question::Listeners => Observation::Listeners { modify_only: false },
        Question::Gauges => Observation::Gauges(open(clients, at)),
        Question::Counters => Observation::Counters(arrived(clients, at)),
        Question::Sockets => {
            let open = open(clients, at).connections;
            Observation::Sockets {
                listening: 1,
                open,
                arrived: arrived(clients, at).connections,
            }
        }
    }
}

pub(super) fn open(clients: &[Connection], at: Duration) -> Open {
    let mut open = Open::default();
    for client in clients
        .iter()
        .filter(|client| client.opened <= at && at < client.closed)
    {
        open.connections += 1;
        match &client.kind {
            Kind::Http(requests) => {
                let now = requests.iter().filter(|(from, to)| *from <= at && at < *to);
                open.requests += now.count() as u64;
            }
            Kind::Upgrade => open.upgrades += 1,
            Kind::Tcp => open.other += 1,
        }
    }
    open
}

/// As Envoy counts: connections when they come, requests when they are answered.
fn arrived(clients: &[Connection], at: Duration) -> Arrived {
    let mut arrived = Arrived::default();
    for client in clients.iter().filter(|client| client.opened <= at) {
        arrived.connections += 1;
        if let Kind::Http(requests) = &client.kind {
            arrived.requests += requests.iter().filter(|(_, to)| *to <= at).count() as u64;
        }
    }
    arrived
}
