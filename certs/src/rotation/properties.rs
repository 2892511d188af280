//! Two publishers, three replicas, an API server that somebody else writes to as well, and clocks
//! that jump: whatever happens in whatever order, no certificate is served that was not published
//! for the overlap, and no CA is dropped whose certificates are served.

mod world;

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::Index;

use self::world::World;
use super::fixtures::{LIFETIMES, at, foreign};
use super::{Entry, Part, Parts, Phase};
use crate::certificate::Validity;

/// What happens to the cluster.
#[derive(Clone, Debug)]
enum Act {
    /// Time passes: in each second every publisher that is up makes a round.
    Pass(u64),
    /// All publishers look before any of them writes, in all of the following seconds.
    Race(bool),
    StopPublisher(usize),
    StartPublisher(usize),
    /// The wall clock of a publisher is off by this many seconds from now on.
    Clock(usize, i64),
    /// A replica no longer hears of changes.
    Disconnect(usize),
    Connect(usize),
    RestartReplica(usize),
    DeleteSecret,
    Damage(Damage),
    /// Somebody writes a `caBundle`.
    Overwrite(Index, Overwrite),
    Ask(u8),
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Everything,
    Phase,
    Since,
    CurrentKey,
    Current,
    NextKey,
    Next,
    Published,
}

#[derive(Clone, Copy, Debug)]
enum Overwrite {
    Empty,
    Foreign,
    ForeignBeside,
    Garbage,
}

impl Damage {
    fn inflict(self, parts: &mut Parts) {
        let lost = |part: &mut Part, certificate_too: bool| {
            if let Part::Whole(authority) = part {
                let left = (!certificate_too).then(|| authority.certificate.clone());
                *part = Part::Damaged(left);
                return vec!["broken".to_owned()];
            }
            Vec::new()
        };
        match self {
            Self::Everything => *parts = Parts::default(),
            Self::Phase => parts.phase = None,
            Self::Since => parts.since = None,
            Self::CurrentKey => parts.damage.extend(lost(&mut parts.current, false)),
            Self::Current => parts.damage.extend(lost(&mut parts.current, true)),
            Self::NextKey => parts.damage.extend(lost(&mut parts.next, false)),
            Self::Next => parts.damage.extend(lost(&mut parts.next, true)),
            Self::Published => parts.published.clear(),
        }
    }
}

impl Overwrite {
    fn inflict(self, entry: &mut Entry, now: SystemTime) {
        match self {
            Self::Empty => entry.bundle.clear(),
            Self::Foreign => entry.bundle = vec![foreign(now)],
            Self::ForeignBeside => entry.bundle.push(foreign(now)),
            Self::Garbage => entry.garbage = true,
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let damage = prop_oneof![
        Just(Damage::Everything),
        Just(Damage::Phase),
        Just(Damage::Since),
        Just(Damage::CurrentKey),
        Just(Damage::Current),
        Just(Damage::NextKey),
        Just(Damage::Next),
        Just(Damage::Published),
    ];
    let overwrite = prop_oneof![
        Just(Overwrite::Empty),
        Just(Overwrite::Foreign),
        Just(Overwrite::ForeignBeside),
        Just(Overwrite::Garbage),
    ];
    let off = prop_oneof![Just(0), -30..30_i64, -5000..5000_i64];
    prop_oneof![
        8 => (1..30_u64).prop_map(Act::Pass),
        // Past every lifetime.
        1 => (200..600_u64).prop_map(Act::Pass),
        1 => any::<bool>().prop_map(Act::Race),
        1 => (0..2_usize).prop_map(Act::StopPublisher),
        2 => (0..2_usize).prop_map(Act::StartPublisher),
        1 => ((0..2_usize), off).prop_map(|(which, off)| Act::Clock(which, off)),
        1 => (0..3_usize).prop_map(Act::Disconnect),
        2 => (0..3_usize).prop_map(Act::Connect),
        1 => (0..3_usize).prop_map(Act::RestartReplica),
        1 => Just(Act::DeleteSecret),
        1 => damage.prop_map(Act::Damage),
        1 => (any::<Index>(), overwrite).prop_map(|(index, how)| Act::Overwrite(index, how)),
        1 => any::<u8>().prop_map(Act::Ask),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn whatever_happens_what_is_served_is_published_for_the_overlap_and_all_ends_well(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut world = World::new();
        world.pass();
        for act in &acts {
            world.act(act);
        }
        // Everybody is back and the clocks are right again.
        for which in 0..2 {
            world.act(&Act::StartPublisher(which));
            world.publishers[which].off = 0;
        }
        (0..3).for_each(|which| world.act(&Act::Connect(which)));
        let settle = LIFETIMES.overlap + LIFETIMES.retirement();
        world.act(&Act::Pass(2 * settle.as_secs()));
        world.is_well();
        // From here on nothing but rotations: each a handful of writes, none for a fight.
        let (writes, before) = (world.writes, world.observed().rotation());
        let length = 3 * LIFETIMES.authority_rotation.as_secs();
        world.act(&Act::Pass(length));
        world.is_well();
        prop_assert_ne!(before, world.observed().rotation(), "rotated");
        let per_rotation = 9 + 2 * world.entries.len();
        prop_assert!(world.writes - writes <= 4 * per_rotation);
    }
}

#[test]
fn a_rotation_takes_exactly_the_time_that_is_promised() {
    let mut world = World::new();
    let mut seen = Vec::new();
    for _ in 0..150 {
        world.pass();
        let rotation = world.observed().rotation().unwrap();
        if seen
            .last()
            .is_none_or(|(phase, _)| *phase != rotation.phase)
        {
            seen.push((rotation.phase, world.second));
        }
    }
    // The CA is born in second 1. Publishing takes no time: all steps fit into one second here.
    let (rotation, overlap) = (LIFETIMES.authority_rotation, LIFETIMES.overlap);
    let second = |duration: Duration| 1 + duration.as_secs();
    let steady_again = rotation + overlap + LIFETIMES.retirement();
    assert_eq!(
        seen[..4],
        [
            (Phase::Steady, 1),
            (Phase::Published, second(rotation)),
            (Phase::Switched, second(rotation + overlap)),
            (Phase::Steady, second(steady_again)),
        ]
    );
    world.is_well();
    let validity: Validity = world.publishers[0]
        .memory
        .clone()
        .unwrap()
        .current
        .unwrap()
        .certificate
        .validity;
    assert!(validity.contains(at(150)));
}
