//! The soak, for as long as a test may take.

use std::time::Duration;

use drainhook_tests::{
    load::Mix,
    soak::{Rounds, Soak},
    stage::play,
};

/// Its first rounds are of different kinds, and in several of them something is killed that has requests in
/// flight.
const SEED: u64 = 3582;

/// So many rounds of it.
const ROUNDS: usize = 4;

#[test]
fn a_short_soak_loses_nothing_but_what_was_in_flight_in_an_envoy_that_was_ended_by_force() {
    play(async |scene| {
        let soak = Soak {
            seed: SEED,
            first: 1,
            length: Duration::from_secs(600),
            rounds: ROUNDS,
            mix: Mix::small(),
        };
        let summary = soak.run(scene.stage(), |line| println!("{line}")).await;
        let summary = summary.unwrap();
        println!("{summary}");
        assert_eq!(summary.failures, Vec::<String>::new());
        assert_eq!(summary.lines.len(), ROUNDS);
    });
}

#[test]
fn the_short_soak_has_several_rounds_in_which_something_is_killed() {
    let rounds = Rounds::of(SEED).take(ROUNDS);
    let cutting = rounds.filter(|round| round.fault.cuts()).count();
    assert!(cutting >= 2, "{cutting} of {ROUNDS}");
}
