//! Which connections are open, what each is doing since when, and which has to go.
//!
//! Connections are shared by [`Shares`]. A peer that is over its share pays with the connection of
//! its own that is worth least, so the newest one gets in: where network address translation
//! makes the API server and somebody else look like one peer, the API server still gets through.
//! One task looks at all of them every second and ends those that take too long. That is cheaper than
//! a timer per connection, and a time-out here need not be exact.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    metrics::{End, EndLabels, Metrics},
    shares::{Exhausted, Share, Shares},
};

/// All open connections of one port.
#[derive(Debug)]
pub(super) struct Connections {
    shares: Arc<Shares>,
    patience: Patience,
    open: Mutex<Open>,
    began: Instant,
    metrics: Arc<Metrics>,
}

/// How long a connection may be in each phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Of TLS. The API server's own limit is 10 s, and a node that is that slow has lost anyway.
    pub(super) handshake: Duration,
    /// From the first byte of a request's head to its answer. The registered time-out is 5 s, so
    /// nobody reads an answer that comes later than that.
    pub(super) request: Duration,
    /// Without a request. Longer than the 90 s after which the API server's HTTP client gives up an
    /// idle connection itself: it must always be the client who closes, because a server that
    /// closes may meet a request that is on its way, and a POST is not sent again.
    pub(super) idle: Duration,
}

/// An open connection, for whoever serves it. Dropped with it.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    watch: Arc<Watch>,
    connections: Arc<Connections>,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) peer: IpAddr,
    phase: AtomicU8,
    since: AtomicU64,
    proven: AtomicBool,
    close: Notify,
    share: Mutex<Option<Share>>,
    end: Mutex<Option<End>>,
    began: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Phase {
    Handshake,
    Idle,
    Request,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Arc<Watch>>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(120),
        }
    }
}

/// A request that takes longer than this may be displaced by a newer connection of the same peer: an
/// honest one takes milliseconds.
const SLOW: Duration = Duration::from_secs(2);

/// How often [`Connections::watch`] looks.
const SWEEP: Duration = Duration::from_secs(1);

impl Connections {
    pub(super) fn new(most: u64, patience: Patience, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            // No peer may have more than what is free, so one alone has half at most.
            shares: Shares::new(most),
            patience,
            open: Mutex::default(),
            began: Instant::now(),
            metrics,
        })
    }

    /// A seat for a new connection, or none where its peer has too many and all are in use.
    pub(super) fn seat(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let peer = peer.to_canonical();
        self.metrics.connections_accepted.inc();
        let share = match self.shares.take(peer, 1) {
            Ok(share) => share,
            Err(Exhausted::Now | Exhausted::Ever) => match self.displace(peer) {
                Some(share) => share,
                None => {
                    self.count_end(End::Refused);
                    return None;
                }
            },
        };
        let watch = Arc::new(Watch {
            peer,
            phase: AtomicU8::new(Phase::Handshake as u8),
            since: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            close: Notify::new(),
            share: Mutex::new(Some(share)),
            end: Mutex::new(None),
            began: self.began,
        });
        watch.enter(Phase::Handshake);
        let mut open = self.lock();
        let id = open.next;
        open.next += 1;
        open.by_id.insert(id, watch.clone());
        drop(open);
        self.metrics.connections.inc();
        Some(Seat {
            id,
            watch,
            connections: self.clone(),
        })
    }

    /// Ends what takes too long, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tick.tick().await;
            self.sweep();
        }
    }

    /// How many are open.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().by_id.len()
    }

    /// On how many a request is under way, if only the beginning of its head.
    #[cfg(test)]
    pub(super) fn asking(&self) -> usize {
        let open = self.lock();
        let phases = open.by_id.values().map(|watch| watch.phase().0);
        phases.filter(|phase| *phase == Phase::Request).count()
    }

    fn sweep(&self) {
        for watch in self.lock().by_id.values() {
            let (phase, since) = watch.phase();
            let limit = match phase {
                Phase::Handshake => self.patience.handshake,
                Phase::Idle => self.patience.idle,
                Phase::Request => self.patience.request,
            };
            if since > limit {
                watch.end(End::Timeout);
            }
        }
    }

    /// Takes the share of the connection of `peer` that is worth least: one that never asked
    /// anything, the oldest first; then one whose request does not come to an end; then the one
    /// that is idle for longest.
    fn displace(&self, peer: IpAddr) -> Option<Share> {
        let open = self.lock();
        let mut candidates: Vec<_> = open
            .by_id
            .values()
            .filter(|watch| watch.peer == peer)
            .filter_map(|watch| Some((watch.worth()?, watch)))
            .collect();
        candidates.sort_by_key(|(worth, _)| *worth);
        candidates.into_iter().find_map(|(_, watch)| {
            let share = watch
                .share
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()?;
            watch.end(End::Displaced);
            Some(share)
        })
    }

    fn count_end(&self, reason: End) {
        self.metrics
            .connections_ended
            .get_or_create(&EndLabels { reason })
            .inc();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.lock().by_id.remove(&self.id);
        self.connections.metrics.connections.dec();
        let end = self
            .watch
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.connections.count_end(end.unwrap_or(End::Closed));
    }
}

impl Watch {
    /// From now on the connection does this.
    pub(super) fn enter(&self, phase: Phase) {
        self.since.store(self.now(), Relaxed);
        self.phase.store(phase as u8, Relaxed);
    }

    /// Bytes came: the beginning of a request, where none is under way.
    pub(super) fn heard(&self) {
        if self.phase.load(Relaxed) == Phase::Idle as u8 {
            self.enter(Phase::Request);
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.proven.store(true, Relaxed);
        self.enter(Phase::Idle);
    }

    /// Why it ends, for the metric, and the word to whoever serves it. The first reason counts.
    pub(super) fn end(&self, reason: End) {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
        self.close.notify_one();
    }

    /// Returns once [`Watch::end`] was called.
    pub(super) async fn closing(&self) {
        self.close.notified().await;
    }

    /// The phase and for how long it lasts.
    pub(super) fn phase(&self) -> (Phase, Duration) {
        let phase = match self.phase.load(Relaxed) {
            0 => Phase::Handshake,
            1 => Phase::Idle,
            _ => Phase::Request,
        };
        let since = self.now().saturating_sub(self.since.load(Relaxed));
        (phase, Duration::from_millis(since))
    }

    /// Lowest first; none for what must not be displaced.
    fn worth(&self) -> Option<(u8, u64)> {
        let (phase, lasts) = self.phase();
        let since = self.since.load(Relaxed);
        match phase {
            Phase::Handshake | Phase::Idle if !self.proven.load(Relaxed) => Some((0, since)),
            Phase::Request if lasts > SLOW => Some((1, since)),
            Phase::Idle => Some((2, since)),
            Phase::Handshake | Phase::Request => None,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
