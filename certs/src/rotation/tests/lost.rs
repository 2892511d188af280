//! Secrets that were deleted, damaged or replaced.

use super::super::fixtures;
use super::*;

#[test]
fn a_deleted_or_damaged_secret_is_written_as_it_was_by_who_remembers_it() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let memory = between(Phase::Published, &old, &new, at(61));
    let damaged = Parts {
        phase: None,
        ..parts(&memory)
    };
    let request = None;
    for secret in [
        SecretObserved::Absent,
        SecretObserved::Present {
            parts: Box::default(),
            request: request.clone(),
        },
        SecretObserved::Present {
            parts: Box::new(damaged),
            request,
        },
    ] {
        let seen = Observed {
            secret,
            configurations: configurations(&memory.bundle()),
        };
        let plan = plan(&seen, Some(&memory), LONG, at(75));
        assert_eq!(plan.events, [Event::Restored]);
        assert_eq!(plan.secret.as_ref(), Some(&memory));
    }
}

#[test]
fn a_deleted_secret_that_nobody_remembers_keeps_trust_in_our_cas_and_in_no_other() {
    let lost = mint(at(0));
    let bundle = [certificates(&[&lost]), vec![foreign(at(0))]].concat();
    let seen = Observed {
        secret: SecretObserved::Absent,
        configurations: configurations(&bundle),
    };
    let plan = plan(&seen, None, seconds(0), at(5));
    assert_eq!(plan.events, [Event::Salvaged]);
    let rotation = plan.secret.unwrap();
    assert_eq!(
        (rotation.phase, &rotation.current),
        (Phase::Publishing, &None)
    );
    assert_eq!(rotation.previous, certificates(&[&lost]));
    assert!(rotation.next.is_some());
}

#[test]
fn what_is_left_of_a_damaged_secret_is_used() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let whole = parts(&between(Phase::Published, &old, &new, at(61)));
    let damage = || vec!["broken".to_owned()];
    let lost_key = || Part::Damaged(Some(old.certificate.clone()));
    let cases = [
        (
            "no phase",
            Parts {
                phase: None,
                ..whole.clone()
            },
            (Phase::Publishing, true, true, 0),
        ),
        (
            "no time",
            Parts {
                since: None,
                ..whole.clone()
            },
            (Phase::Publishing, true, true, 0),
        ),
        (
            "the signing key is lost",
            Parts {
                current: lost_key(),
                damage: damage(),
                ..whole.clone()
            },
            (Phase::Publishing, false, true, 1),
        ),
        (
            "the next CA is lost",
            Parts {
                next: Part::Damaged(None),
                damage: damage(),
                ..whole.clone()
            },
            (Phase::Steady, true, false, 0),
        ),
        (
            "the next CA's key is lost",
            Parts {
                next: Part::Damaged(Some(new.certificate.clone())),
                damage: damage(),
                ..whole.clone()
            },
            (Phase::Switched, true, false, 1),
        ),
        (
            "both keys are lost",
            Parts {
                current: lost_key(),
                next: Part::Damaged(Some(new.certificate.clone())),
                damage: damage(),
                ..whole.clone()
            },
            (Phase::Publishing, false, true, 2),
        ),
    ];
    for (name, parts, (phase, current, next, previous)) in cases {
        let secret = SecretObserved::Present {
            parts: Box::new(parts),
            request: None,
        };
        let plan = plan(
            &Observed {
                secret,
                configurations: vec![],
            },
            None,
            LONG,
            at(70),
        );
        assert_eq!(plan.events, [Event::Salvaged], "{name}");
        let made = plan.secret.unwrap();
        assert_eq!(
            (
                made.phase,
                made.current.is_some(),
                made.next.is_some(),
                made.previous.len()
            ),
            (phase, current, next, previous),
            "{name}"
        );
        assert_eq!(made.since, at(70), "{name}");
        assert_eq!(
            fixtures::parts(&made).assemble(),
            Ok(made),
            "{name}: and it is whole"
        );
    }
}

#[test]
fn phases_that_do_not_fit_what_is_there_are_damage() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let mut steady_with_next = between(Phase::Published, &old, &new, at(0));
    steady_with_next.phase = Phase::Steady;
    let mut published_without = steady(&old, at(0));
    published_without.phase = Phase::Published;
    let mut steady_with_previous = switched(&old, &new, at(0));
    steady_with_previous.phase = Phase::Steady;
    let nobody = Rotation {
        current: None,
        ..steady(&old, at(0))
    };
    for rotation in [
        steady_with_next,
        published_without,
        steady_with_previous,
        nobody,
    ] {
        assert_eq!(
            parts(&rotation).assemble().map_err(|damage| damage.len()),
            Err(1)
        );
    }
}

#[test]
fn a_secret_replaced_by_another_whole_one_does_not_end_trust_in_what_is_served() {
    let (known, other) = (mint(at(0)), mint(at(1)));
    let memory = steady(&known, at(0));
    let replaced = steady(&other, at(1));
    let seen = observed(&replaced, configurations(&memory.bundle()));
    let plan = plan(&seen, Some(&memory), LONG, at(2));
    assert!(plan.events.contains(&Event::Replaced));
    let next = plan.secret.unwrap();
    assert_eq!((next.phase, next.since), (Phase::Switched, at(2)));
    assert_eq!(next.bundle(), certificates(&[&other, &known]));
}
