//! Sharing a fixed amount of something (connections, requests, bytes) among peers that nobody can
//! tell apart by right: most clusters cannot make the API server show a client certificate, so
//! whoever reaches the pod network may post.
//!
//! The rule is the dynamic threshold of shared-buffer switches (Choudhury and Hahne, 1998): **no
//! peer may hold more than what is still free.** Nothing is set aside and nothing is configured per
//! peer, and yet one greedy peer leaves half of everything to the others, and `k` greedy peers
//! leave one part in `k + 1`. An API server that asks for a few kilobytes on a few connections
//! is served whatever ten pods do.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;

/// A fixed amount that peers take their shares of.
#[derive(Debug)]
pub(super) struct Shares {
    total: u64,
    held: Mutex<Held>,
}

/// What a peer holds until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    peer: IpAddr,
    amount: u64,
}

/// Why a peer gets nothing.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum Exhausted {
    /// It would have more than is left to all others. Later it may be different.
    #[error("too much is under way at the moment")]
    Now,
    /// It would be too much even if nobody else asked for anything.
    #[error("too large to be ever served")]
    Ever,
}

#[derive(Debug, Default)]
struct Held {
    in_all: u64,
    most: u64,
    by_peer: HashMap<IpAddr, u64>,
}

impl Shares {
    pub(super) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self {
            total,
            held: Mutex::default(),
        })
    }

    /// An amount for `peer`, given back when the share is dropped.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] where `peer` would then hold more than is left.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, amount: u64) -> Result<Share, Exhausted> {
        let mut share = Share {
            shares: self.clone(),
            peer,
            amount: 0,
        };
        share.grow(amount)?;
        Ok(share)
    }

    /// How much is held by all peers together.
    pub(super) fn held(&self) -> u64 {
        self.lock().in_all
    }

    /// The most that was ever held at once: what a test of the bound asks for.
    pub(super) fn most_ever_held(&self) -> u64 {
        self.lock().most
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // The numbers are changed together and nothing in between can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Adds to a share that is held already, and leaves it as it is on an error.
    ///
    /// # Errors
    ///
    /// As [`Shares::take`].
    pub(super) fn grow(&mut self, amount: u64) -> Result<(), Exhausted> {
        if amount == 0 {
            return Ok(());
        }
        let mut held = self.shares.lock();
        let in_all = held.in_all.saturating_add(amount);
        let of_peer = held
            .by_peer
            .get(&self.peer)
            .copied()
            .unwrap_or(0)
            .saturating_add(amount);
        let own = self.amount.saturating_add(amount);
        if own > self.shares.total.saturating_sub(own) {
            return Err(Exhausted::Ever);
        }
        if of_peer > self.shares.total.saturating_sub(in_all) {
            return Err(Exhausted::Now);
        }
        held.in_all = in_all;
        held.most = held.most.max(in_all);
        held.by_peer.insert(self.peer, of_peer);
        drop(held);
        self.amount = own;
        Ok(())
    }

    /// Gives some of it back, or all where it holds no more than that.
    pub(super) fn shrink(&mut self, amount: u64) {
        let amount = amount.min(self.amount);
        if amount == 0 {
            return;
        }
        self.amount -= amount;
        let mut held = self.shares.lock();
        held.in_all -= amount;
        if let Some(of_peer) = held.by_peer.get_mut(&self.peer) {
            *of_peer -= amount;
            if *of_peer == 0 {
                held.by_peer.remove(&self.peer);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    #[test]
    fn one_greedy_peer_leaves_half_to_the_others() {
        let shares = Shares::new(100);
        let greedy: Vec<_> = (0..1000)
            .map_while(|_| shares.take(peer(1), 1).ok())
            .collect();
        assert_eq!(greedy.len(), 50);
        assert!(shares.take(peer(2), 25).is_ok());
    }

    #[test]
    fn many_greedy_peers_still_leave_something() {
        let shares = Shares::new(1024);
        let mut greedy = Vec::new();
        for _round in 0..1024 {
            for number in 1..=10 {
                greedy.extend(shares.take(peer(number), 1));
            }
        }
        let api_server: Vec<_> = (0..1024)
            .map_while(|_| shares.take(peer(99), 1).ok())
            .collect();
        assert!(api_server.len() >= 40, "only {} left", api_server.len());
    }

    #[test]
    fn what_is_dropped_is_free_again() {
        let shares = Shares::new(100);
        let share = shares.take(peer(1), 50).unwrap();
        assert_eq!(shares.take(peer(1), 1).unwrap_err(), Exhausted::Now);
        drop(share);
        assert_eq!(shares.held(), 0);
        assert!(shares.take(peer(1), 50).is_ok());
        assert!(
            shares.lock().by_peer.is_empty(),
            "a peer that holds nothing costs nothing"
        );
    }

    #[test]
    fn what_is_given_back_is_free_again_and_never_more_than_is_held() {
        let shares = Shares::new(100);
        let mut share = shares.take(peer(1), 50).unwrap();
        share.shrink(20);
        assert_eq!((shares.held(), shares.most_ever_held()), (30, 50));
        assert_eq!(share.grow(20), Ok(()));
        share.shrink(1000);
        assert_eq!(shares.held(), 0);
        drop(share);
        assert!(shares.lock().by_peer.is_empty());
    }

    #[test]
    fn what_can_never_be_served_is_told_from_what_cannot_be_now() {
        let shares = Shares::new(100);
        assert_eq!(shares.take(peer(1), 51).unwrap_err(), Exhausted::Ever);
        let mut share = shares.take(peer(1), 30).unwrap();
        assert_eq!(share.grow(30), Err(Exhausted::Ever));
        let _other = shares.take(peer(2), 30).unwrap();
        assert_eq!(share.grow(15), Err(Exhausted::Now));
        assert_eq!(share.grow(u64::MAX), Err(Exhausted::Ever));
        assert_eq!(shares.held(), 60, "a refusal changes nothing");
    }

    proptest! {
        #[test]
        fn never_more_than_the_total_and_all_of_it_comes_back(
            steps in proptest::collection::vec((0_u8..6, 0_u64..200, any::<bool>()), 0..200),
        ) {
            let shares = Shares::new(500);
            let mut held = Vec::new();
            for (number, amount, give_back) in steps {
                if give_back {
                    held.pop();
                } else {
                    held.extend(shares.take(peer(number), amount));
                }
                prop_assert!(shares.held() <= 500);
            }
            prop_assert!(shares.most_ever_held() <= 500);
            drop(held);
            prop_assert_eq!(shares.held(), 0);
        }
    }
}
