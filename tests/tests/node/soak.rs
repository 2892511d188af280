//! The soak, for as long as a test may take.

use std::{process::Command, time::Duration};

use drainhook_tests::{
    load::Mix,
    measured::measured,
    soak::{End, Fault, Rounds, Soak},
    stage::play,
};

/// Its first rounds are of different kinds, and in several of them something is killed that has requests in
/// flight.
const SEED: u64 = 1495;

/// So many rounds of it.
const ROUNDS: usize = 4;

/// It begins with a rollout in which nothing else happens.
const HARMLESS: u64 = 58;

fn soak(seed: u64, rounds: usize) -> Soak {
    Soak {
        seed,
        first: 1,
        length: Duration::from_secs(600),
        rounds,
        mix: Mix::small(),
        drained: true,
    }
}

#[test]
fn a_short_soak_loses_nothing_but_what_was_in_flight_in_an_envoy_that_was_ended_by_force() {
    play(async |scene| {
        let soak = soak(SEED, ROUNDS);
        let summary = soak.run(scene.stage(), |line| measured(line)).await;
        let summary = summary.unwrap();
        measured(&summary);
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

#[test]
fn a_soak_of_pods_without_a_drain_sees_what_they_lose() {
    let first = Rounds::of(HARMLESS).next().unwrap();
    assert_eq!((first.end, first.fault), (End::Rollout, Fault::None));
    play(async |scene| {
        let soak = Soak {
            drained: false,
            ..soak(HARMLESS, 1)
        };
        let summary = soak.run(scene.stage(), |_| {}).await.unwrap();
        assert!(!summary.is_clean());
        let failed: u64 = summary.lines.iter().map(|line| line.failed).sum();
        assert!(failed > 0, "{summary}");
    });
}

#[test]
fn the_seed_of_a_soak_is_printed_and_gives_the_same_rounds_again() {
    let soak = |arguments: &[&str]| {
        let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
        soak.args(["--plan", "30"]).args(arguments);
        let output = soak
            .env_remove("SEED")
            .env_remove("ROUND")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let rounds = soak(&[]);
    let (seed, lines) = rounds.split_once('\n').unwrap();
    let seed = seed.strip_prefix("SEED=").unwrap();
    assert_eq!(lines.lines().count(), 30);
    assert_eq!(soak(&["--seed", seed]), rounds);
    let another = (seed.parse::<u64>().unwrap() + 1).to_string();
    assert!(!soak(&["--seed", &another]).ends_with(lines));
    // From the tenth on.
    let from = soak(&["--seed", seed, "--round", "10"]);
    let (_, from) = from.split_once('\n').unwrap();
    let tenth = lines.lines().nth(9).unwrap();
    assert_eq!(from.lines().next(), Some(tenth));
}
