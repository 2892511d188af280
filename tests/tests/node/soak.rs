//! The soak, for as long as a test may take.

use std::time::Duration;

use drainhook_tests::{load::Mix, soak::Soak, stage::play};

#[test]
fn a_short_soak_loses_nothing() {
    play(async |scene| {
        let soak = Soak {
            // Its first rounds are of different kinds.
            seed: 3,
            first: 1,
            length: Duration::from_secs(600),
            rounds: 3,
            mix: Mix::small(),
        };
        let summary = soak.run(scene.stage(), |line| println!("{line}")).await;
        let summary = summary.unwrap();
        println!("{summary}");
        assert_eq!(summary.failures, Vec::<String>::new());
        assert_eq!(summary.lines.len(), soak.rounds);
    });
}
