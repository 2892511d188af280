//! When a drain was due, by what the clients saw.
//!
//! The sidecar ends a drain when nothing is left. Whether that was the right moment is computed
//! here from the load generator's record alone, without a word of the sidecar: the floor has
//! passed, the last connection arrived `quiet` ago, the last request ended `idle-quiet` ago.

mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::load::{Kind, Outcome, Record, Request};
use crate::rollout::Life;

pub use settings::Settings;

/// A drain ends within this of when it is due.
pub const TOLERANCE: Duration = Duration::from_millis(500);

/// No drain may end later than this after it was due where nobody knows how long it was kept waiting: idle
/// connections would hold it up for longer.
pub const LATEST: Duration = Duration::from_secs(20);

/// After a look that took long the sidecar pauses for four times as long, a second at most, so as not to
/// take Envoy's time: what holds up a look makes the next one later, too. It takes many looks, and of all that
/// they waited no more than half falls into the one that matters.
const PAUSE: u32 = 2;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What no account of this kernel tells: a hypervisor's other guests, a slow disk, packets that wait for
/// someone. One drain may be late by it; [`systematically_late`] asks that half of many are not.
const UNACCOUNTED: Duration = Duration::from_secs(2);

/// So long before its end, whatever is taken down late can make a drain seem to have ended early.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// What a drain had to wait for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The floor.
    Floor,
    /// New connections.
    Arrivals,
    /// Requests.
    Requests,
    /// Websockets that ended.
    Websockets,
    /// The bound of websockets.
    WebsocketBound,
    /// The bound of the whole drain.
    Timeout,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Floor => "the floor",
            Reason::Arrivals => "last arrival",
            Reason::Requests => "last request",
            Reason::Websockets => "last websocket",
            Reason::WebsocketBound => "upgrade-timeout",
            Reason::Timeout => "drain-timeout",
        })
    }
}

/// When a drain was due and when it ended, both from the moment the pod was told to end.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The pod.
    pub pod: String,
    /// When it was due.
    pub due: Duration,
    /// What it waited for longest.
    pub reason: Reason,
    /// When the hooks were answered.
    pub ended: Duration,
    /// How much later than it was the clients may have taken down what they saw in the end.
    pub lag: Duration,
    /// How long those who drain were kept waiting for a processor while it was decided when it ends; none
    /// where nobody knows.
    pub held: Option<Duration>,
    /// The same after it was due.
    pub held_since_due: Option<Duration>,
    /// How much later it may have been due than the clients can see.
    pub unseen: Duration,
}

impl Verdict {
    /// How far the end was from when it was due; positive where it was late. Seconds.
    pub fn seconds_off(&self) -> f64 {
        self.ended.as_secs_f64() - self.due.as_secs_f64()
    }

    /// Whether it ended when it was due.
    pub fn is_on_time(&self) -> bool {
        self.seconds_off().abs() <= TOLERANCE.as_secs_f64()
    }

    /// The latest that it may have ended after it was due: half a second, what the machine kept it waiting, and
    /// what it may have without saying.
    pub fn latest(&self) -> Duration {
        self.held.map_or(LATEST, |held| {
            let kept = held + (held * PAUSE).min(LONGEST_PAUSE) + UNACCOUNTED;
            TOLERANCE + self.unseen + kept
        })
    }

    /// What is wrong with it, however busy the machine was: the drain ended before it was due, as far as the
    /// clients can tell, or later than those who drain were kept waiting.
    pub fn fault(&self) -> Option<String> {
        let off = self.seconds_off();
        let early = (TOLERANCE + self.lag).as_secs_f64();
        let Self { pod, reason, .. } = self;
        let ended = |how: String| format!("the drain of {pod} ended {how} it was due ({reason})");
        if off < -early {
            return Some(ended(format!("{:.2} s before", -off)));
        }
        let latest = self.latest().as_secs_f64();
        (off > latest).then(|| {
            let late = ended(format!("{off:.2} s after"));
            format!("{late}, and on this machine it had {latest:.2} s")
        })
    }
}

/// Judges the drain of one pod; none where it was not stopped or had no hook.
pub fn judge(life: &Life, record: &Record, settings: &Settings) -> Option<Verdict> {
    let stopped = life.stopped.as_ref()?;
    let hooks = stopped
        .containers
        .iter()
        .filter_map(|container| container.hook.as_ref());
    let ended = hooks.map(|hook| hook.at).max()?;
    let (pod, endpoint) = (&life.name, life.endpoint);
    Some(verdict(
        pod,
        endpoint,
        stopped.asked,
        ended,
        record,
        settings,
    ))
}

/// Judges a drain that was asked for and ended at these moments.
pub fn verdict(
    pod: &str,
    endpoint: SocketAddr,
    asked: Instant,
    ended: Instant,
    record: &Record,
    settings: &Settings,
) -> Verdict {
    let lag = record.lag(ended.checked_sub(LAST_MOMENTS).unwrap_or(asked), ended);
    let (due, reason) = due(endpoint, asked, ended, lag, record, settings);
    let since = |moment: Instant| moment.saturating_duration_since(asked);
    Verdict {
        pod: pod.to_owned(),
        due: since(due),
        reason,
        ended: since(ended),
        lag,
        held: None,
        held_since_due: None,
        unseen: Duration::ZERO,
    }
}

/// What is wrong with many drains together: half of them ended more than half a second after they were due
/// and had not to wait since then, nor for the pause after a look that was held up before: few of the waits
/// before fall into that one, so they count once. On a busy machine one drain may be excused and all of them are
/// not, since most waits fall where they hold up nothing. Those of which nobody knows how long they were kept
/// waiting are left out.
pub fn systematically_late(verdicts: &[Verdict]) -> Option<String> {
    let late = verdicts.iter().filter_map(|it| {
        let since = it.held_since_due.unwrap_or_default();
        let before = it.held?.saturating_sub(since);
        let kept = since + before.min(LONGEST_PAUSE) + it.unseen;
        Some(it.seconds_off() - kept.as_secs_f64())
    });
    let mut late: Vec<_> = late.collect();
    late.sort_by(f64::total_cmp);
    // The lower one of two in the middle.
    let median = *late.get(late.len().checked_sub(1)? / 2)?;
    (median > TOLERANCE.as_secs_f64()).then(|| {
        let drains = late.len();
        format!("half of {drains} drains ended {median:.2} s and more after they were due")
    })
}

fn due(
    endpoint: SocketAddr,
    asked: Instant,
    ended: Instant,
    lag: Duration,
    record: &Record,
    settings: &Settings,
) -> (Instant, Reason) {
    // What came in the very last moment the last look has not seen, and it cannot have held up the end. Where
    // it was cut by that, it has failed.
    let seen = ended.checked_sub(TOLERANCE + lag).unwrap_or(asked);
    let floor = asked + settings.drain_delay + settings.min_drain;
    let deaf = floor + settings.arrivals_timeout;
    let here = |websockets: bool| {
        record.requests.iter().filter(move |request| {
            request.endpoint == Some(endpoint)
                && request.sent <= seen
                && matches!(request.kind, Kind::WebSocket | Kind::EndlessWebSocket) == websockets
        })
    };
    let arrivals = record
        .arrivals
        .iter()
        .filter(|arrival| arrival.endpoint == endpoint);
    let last_arrival = arrivals
        .map(|arrival| arrival.at)
        .filter(|at| *at <= seen)
        .max();
    let last_request = here(false).map(|request| request.ended.min(ended)).max();

    let mut due = (floor, Reason::Floor);
    let mut later = |moment: Option<Instant>, reason| {
        if let Some(moment) = moment.filter(|moment| *moment > due.0) {
            due = (moment, reason);
        }
    };
    later(
        last_arrival.map(|at| (at + settings.quiet).min(deaf)),
        Reason::Arrivals,
    );
    // After the last request there is a pause, if not for ever; in flight it counts in any case.
    later(
        last_request.map(|at| at.max((at + settings.idle_quiet).min(deaf))),
        Reason::Requests,
    );
    // Websockets hold up the end when they are all that is left, each until it ends, and all of
    // them together no longer than the upgrade-timeout.
    // One that did not end by itself was ended by this drain and says nothing about when it was due.
    // The bound runs from the first moment at which nothing else was left; what came later is served,
    // and does not start it anew.
    let others: Vec<_> = here(false).collect();
    let alone = alone_from(endpoint, floor, &others, record, settings).min(due.0);
    let bound = (alone + settings.upgrade_timeout).max(due.0);
    let last_websocket = here(true)
        .map(|request| match request.outcome {
            Outcome::Answered => request.ended,
            Outcome::Cut | Outcome::Failed(_) => bound,
        })
        .max();
    match last_websocket {
        Some(at) if at >= bound => due = (bound, Reason::WebsocketBound),
        Some(at) if at > due.0 => due = (at, Reason::Websockets),
        _ => {}
    }
    let timeout = asked + settings.drain_timeout;
    if due.0 > timeout {
        (timeout, Reason::Timeout)
    } else {
        due
    }
}

/// The first moment from the floor on at which no request was in flight, and none and no connection had
/// come for long enough.
fn alone_from(
    endpoint: SocketAddr,
    floor: Instant,
    requests: &[&Request],
    record: &Record,
    settings: &Settings,
) -> Instant {
    let arrivals = record
        .arrivals
        .iter()
        .filter(|arrival| arrival.endpoint == endpoint)
        .map(|arrival| (arrival.at, arrival.at + settings.quiet));
    let mut busy: Vec<_> = requests
        .iter()
        .map(|request| (request.sent, request.ended + settings.idle_quiet))
        .chain(arrivals)
        .collect();
    busy.sort();
    // In order of their beginning, so that one that begins after a gap cannot close it.
    busy.into_iter().fold(
        floor,
        |alone, (from, to)| {
            if from <= alone { alone.max(to) } else { alone }
        },
    )
}

#[cfg(test)]
mod tests;
