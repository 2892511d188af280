//! The table: from each situation to what is written.

mod lost;
mod replica;

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use super::fixtures::{
    LIFETIMES, ORGANIZATION, at, configurations, entry, foreign, mint, observed, parts, seconds,
    steady,
};
use super::{
    Configuration, Event, Findings, Observed, Part, Parts, Phase, Plan, Planner, Rotation,
    SecretObserved, Watched,
};
use crate::authority::Authority;
use crate::certificate::{Certificate, Validity};

const LONG: Duration = seconds(1_000_000);

fn plan(
    observed: &Observed,
    memory: Option<&Rotation>,
    watched: Duration,
    now: SystemTime,
) -> Plan {
    let planner = Planner {
        organization: ORGANIZATION.to_owned(),
        lifetimes: LIFETIMES,
    };
    let findings = Findings {
        memory,
        watched,
        now,
    };
    let Ok(plan) = planner.plan(observed, findings, || Ok::<_, Infallible>(mint(now)));
    plan
}

fn certificates(authorities: &[&Authority]) -> Vec<Certificate> {
    authorities
        .iter()
        .map(|authority| authority.certificate.clone())
        .collect()
}

fn between(phase: Phase, old: &Authority, new: &Authority, since: SystemTime) -> Rotation {
    Rotation {
        phase,
        next: Some(new.clone()),
        published: certificates(&[old, new]),
        ..steady(old, since)
    }
}

fn switched(old: &Authority, new: &Authority, since: SystemTime) -> Rotation {
    Rotation {
        phase: Phase::Switched,
        previous: certificates(&[old]),
        published: certificates(&[old, new]),
        ..steady(new, since)
    }
}

#[test]
fn a_new_installation_gets_a_ca_that_signs_at_once_then_bundles_then_the_confirmation() {
    let nothing = Observed {
        secret: SecretObserved::Absent,
        configurations: configurations(&[]),
    };
    let founded = plan(&nothing, None, seconds(0), at(0));
    assert_eq!(founded.events, [Event::Founded]);
    assert!(
        founded.bundles.is_empty(),
        "no bundle before its CA stands in the Secret"
    );
    let rotation = founded.secret.unwrap();
    assert_eq!(
        (rotation.phase, rotation.published.as_slice()),
        (Phase::Steady, &[][..])
    );

    let filled = plan(
        &observed(&rotation, configurations(&[])),
        None,
        seconds(0),
        at(0),
    );
    assert_eq!(filled.events, [Event::FilledBundle; 3]);
    assert_eq!(
        filled.secret, None,
        "published is what was seen, not what was sent"
    );
    let entries: Vec<_> = filled
        .bundles
        .iter()
        .map(|write| write.entries.join(" "))
        .collect();
    assert_eq!(entries, ["annotation namespace", "warn"]);
    assert!(
        filled
            .bundles
            .iter()
            .all(|write| write.bundle == rotation.bundle())
    );

    let right = observed(&rotation, configurations(&rotation.bundle()));
    let confirmed = plan(&right, None, seconds(0), at(0)).secret.unwrap();
    assert_eq!(confirmed.published, rotation.bundle());
    let quiet = plan(
        &observed(&confirmed, right.configurations),
        None,
        LONG,
        at(5),
    );
    assert!(quiet.secret.is_none() && quiet.bundles.is_empty() && quiet.events.is_empty());
}

#[test]
fn a_ca_is_replaced_when_it_is_old_ending_expired_or_not_yet_valid_and_not_before() {
    let ca = mint(at(0));
    for (second, due) in [
        (1, false),
        (59, false),
        (60, true),
        (199, true),
        (999, true),
    ] {
        let seen = observed(&steady(&ca, at(0)), configurations(&certificates(&[&ca])));
        let plan = plan(&seen, None, LONG, at(second));
        assert_eq!(plan.events == [Event::Started], due, "at {second}");
        if let Some(next) = plan.secret {
            assert_eq!(next.phase, Phase::Publishing);
            assert_eq!(
                next.current.as_ref(),
                Some(&ca),
                "the old one goes on signing"
            );
            assert_eq!(next.published, certificates(&[&ca]));
        }
    }
    let future = mint(at(800));
    let seen = observed(
        &steady(&future, at(0)),
        configurations(&certificates(&[&future])),
    );
    assert_eq!(plan(&seen, None, LONG, at(100)).events, [Event::Started]);
    let mut short = mint(at(0));
    short.certificate.validity = Validity {
        not_before: at(0),
        not_after: at(50),
    };
    let seen = observed(
        &steady(&short, at(0)),
        configurations(&certificates(&[&short])),
    );
    assert_eq!(plan(&seen, None, LONG, at(1)).events, []);
    assert_eq!(plan(&seen, None, LONG, at(20)).events, [Event::Started]);
}

#[test]
fn a_rotation_waits_for_every_bundle_to_be_right_unless_nobody_could_sign_any_more() {
    let ca = mint(at(0));
    for (second, starts) in [(60, false), (199, false), (201, true)] {
        for configurations in [
            configurations(&[foreign(at(0))]),
            vec![Configuration::Unknown],
        ] {
            let seen = observed(&steady(&ca, at(0)), configurations);
            let plan = plan(&seen, None, LONG, at(second));
            assert_eq!(plan.secret.is_some(), starts, "at {second}");
        }
    }
}

#[test]
fn each_new_request_rotates_once() {
    let ca = mint(at(0));
    let mut seen = observed(&steady(&ca, at(0)), configurations(&certificates(&[&ca])));
    let SecretObserved::Present { request, .. } = &mut seen.secret else {
        panic!()
    };
    *request = Some("now".to_owned());
    let next = plan(&seen, None, LONG, at(1)).secret.unwrap();
    assert_eq!(
        (next.phase, next.honoured.as_deref()),
        (Phase::Publishing, Some("now"))
    );

    let SecretObserved::Present { parts, .. } = &mut seen.secret else {
        panic!()
    };
    parts.honoured = Some("now".to_owned());
    assert_eq!(plan(&seen, None, LONG, at(1)).events, []);
    let SecretObserved::Present { request, .. } = &mut seen.secret else {
        panic!()
    };
    *request = None;
    assert_eq!(plan(&seen, None, LONG, at(1)).events, []);
}

#[test]
fn the_next_ca_is_published_only_when_every_entry_of_every_configuration_has_it() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let rotation = between(Phase::Publishing, &old, &new, at(60));
    let bundle = rotation.bundle();
    let right = plan(
        &observed(&rotation, configurations(&bundle)),
        None,
        LONG,
        at(61),
    );
    assert_eq!(right.events, [Event::Published]);
    let published = right.secret.unwrap();
    assert_eq!(
        (published.phase, published.since),
        (Phase::Published, at(61))
    );

    let mut behind = configurations(&bundle);
    behind[1] = Configuration::Found(vec![entry("warn", &certificates(&[&old]))]);
    let plan_ = plan(&observed(&rotation, behind), None, LONG, at(61));
    assert_eq!((plan_.secret, plan_.bundles.len()), (None, 1));

    for blind in [Configuration::Unknown, Configuration::Missing] {
        let mut some = configurations(&bundle);
        some[0] = blind.clone();
        let plan = plan(&observed(&rotation, some), None, LONG, at(61));
        let goes_on = blind == Configuration::Missing;
        assert_eq!(plan.secret.is_some(), goes_on, "{blind:?}");
    }
    let none = vec![Configuration::Missing, Configuration::Found(Vec::new())];
    assert_eq!(
        plan(&observed(&rotation, none), None, LONG, at(61)).secret,
        None
    );
}

#[test]
fn the_switch_waits_for_both_clocks() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let rotation = between(Phase::Published, &old, &new, at(61));
    let seen = observed(&rotation, configurations(&rotation.bundle()));
    let overlap = LIFETIMES.overlap;
    let short = overlap - seconds(1);
    for (now, watched, event) in [
        (at(70), LONG, None),
        (at(200), short, None),
        (at(71), short, None),
        (at(71), overlap, Some(Event::Switched)),
    ] {
        assert_eq!(
            plan(&seen, None, watched, now).events,
            Vec::from_iter(event),
            "{now:?}"
        );
    }
    let after = plan(&seen, None, overlap, at(71)).secret.unwrap();
    assert_eq!((after.phase, after.since), (Phase::Switched, at(71)));
    assert_eq!(
        (after.current.as_ref(), after.next.as_ref()),
        (Some(&new), None)
    );
    assert_eq!(after.previous, certificates(&[&old]));
}

#[test]
fn an_overwritten_bundle_is_put_right_and_the_overlap_begins_anew() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let rotation = between(Phase::Published, &old, &new, at(61));
    for (bundle, event) in [
        (vec![], Event::FilledBundle),
        (vec![foreign(at(0))], Event::RepairedBundle),
        (certificates(&[&old]), Event::RepairedBundle),
        (
            [rotation.bundle(), vec![foreign(at(0))]].concat(),
            Event::RepairedBundle,
        ),
    ] {
        let mut some = configurations(&rotation.bundle());
        some[0] = Configuration::Found(vec![
            entry("annotation", &rotation.bundle()),
            entry("x", &bundle),
        ]);
        let plan = plan(&observed(&rotation, some), None, LONG, at(100));
        assert_eq!(plan.events, [event, Event::Reopened]);
        assert_eq!(plan.bundles.len(), 1);
        assert_eq!(plan.bundles[0].entries, ["annotation", "x"]);
        let reopened = plan.secret.unwrap();
        assert_eq!(
            (reopened.phase, reopened.since),
            (Phase::Publishing, at(100))
        );
    }
}

#[test]
fn an_entry_with_anything_but_certificates_is_put_right() {
    let ca = mint(at(0));
    let rotation = steady(&ca, at(0));
    let mut some = configurations(&rotation.bundle());
    let Configuration::Found(entries) = &mut some[0] else {
        panic!()
    };
    entries[1].garbage = true;
    let plan = plan(&observed(&rotation, some), None, LONG, at(1));
    assert_eq!(
        (plan.events.as_slice(), plan.secret),
        (&[Event::RepairedBundle][..], None)
    );
    assert_eq!(plan.bundles.len(), 1);
}

#[test]
fn the_old_ca_is_dropped_when_everything_that_it_signed_has_expired() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let rotation = switched(&old, &new, at(71));
    let seen = observed(&rotation, configurations(&rotation.bundle()));
    let retirement = LIFETIMES.retirement().as_secs();
    assert_eq!(plan(&seen, None, LONG, at(71 + retirement - 1)).events, []);
    // The clock jumped: this process has not even watched for the overlap.
    assert_eq!(
        plan(&seen, None, seconds(1), at(71 + retirement)).events,
        []
    );
    let retired = plan(&seen, None, LONG, at(71 + retirement));
    assert_eq!(retired.events, [Event::Retired]);
    assert_eq!(retired.secret.unwrap().bundle(), certificates(&[&new]));
    let mut blind = seen.configurations.clone();
    blind[0] = Configuration::Unknown;
    assert_eq!(
        plan(&observed(&rotation, blind), None, LONG, at(71 + retirement)).events,
        []
    );
}

#[test]
fn a_time_in_the_future_is_set_to_now() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    for rotation in [
        between(Phase::Published, &old, &new, at(900)),
        switched(&old, &new, at(900)),
    ] {
        let seen = observed(&rotation, configurations(&rotation.bundle()));
        let retimed = plan(&seen, None, LONG, at(80));
        assert_eq!(retimed.events, [Event::Retimed]);
        let expected = Rotation {
            since: at(80),
            published: rotation.bundle(),
            ..rotation
        };
        assert_eq!(retimed.secret, Some(expected));
    }
}

#[test]
fn a_next_ca_that_expired_before_it_could_be_published_is_replaced_and_stays_trusted() {
    let (old, stuck) = (mint(at(0)), mint(at(60)));
    let rotation = between(Phase::Publishing, &old, &stuck, at(60));
    let seen = observed(&rotation, configurations(&rotation.bundle()));
    let plan = plan(&seen, None, LONG, at(900));
    assert_eq!(plan.events, [Event::Started]);
    let next = plan.secret.unwrap();
    assert_ne!(next.next.as_ref(), Some(&stuck));
    assert_eq!(next.previous, certificates(&[&stuck]));
}

#[test]
fn watching_counts_one_phase_with_every_bundle_right() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let published = between(Phase::Published, &old, &new, at(61));
    let later = Rotation {
        since: at(62),
        ..published.clone()
    };
    let mut watched = Watched::default();
    for (rotation, right, instant, expected) in [
        (Some(&published), None, 90, 0),
        (Some(&published), Some(true), 100, 0),
        (Some(&published), Some(true), 107, 7),
        (Some(&published), None, 108, 8),
        (Some(&published), Some(true), 109, 9),
        (Some(&published), Some(false), 110, 0),
        (Some(&published), Some(true), 111, 0),
        (Some(&published), Some(true), 113, 2),
        (Some(&later), Some(true), 114, 0),
        (Some(&later), Some(true), 120, 6),
        (None, None, 121, 0),
        (Some(&later), Some(true), 122, 0),
    ] {
        let seen = watched.see(rotation, right, seconds(instant));
        assert_eq!(seen, seconds(expected), "at {instant}");
    }
}
