//! What a replica signs with.

use super::*;

#[test]
fn a_replica_signs_with_what_is_published_and_falls_back_by_its_own_clock() {
    let (old, new) = (mint(at(0)), mint(at(60)));
    let during = between(Phase::Published, &old, &new, at(61));
    let after = switched(&old, &new, at(71));
    let unknown = Rotation {
        published: certificates(&[&old]),
        ..after.clone()
    };
    let ahead = switched(&old, &mint(at(500)), at(71));
    let lost = Rotation {
        current: None,
        previous: certificates(&[&old]),
        ..during.clone()
    };
    for (name, rotation, held, now, chosen) in [
        ("new here", &during, None, at(70), Some(&old)),
        ("as before", &during, Some(&old), at(70), Some(&old)),
        ("switched", &after, Some(&old), at(72), Some(&new)),
        (
            "new here after the switch",
            &after,
            None,
            at(72),
            Some(&new),
        ),
        (
            "current is not known to be published",
            &unknown,
            Some(&old),
            at(72),
            Some(&old),
        ),
        (
            "that, but the held one is over",
            &unknown,
            Some(&old),
            at(230),
            Some(&new),
        ),
        (
            "the signing key was lost",
            &lost,
            Some(&old),
            at(72),
            Some(&old),
        ),
        (
            "the signing key was lost, and new here",
            &lost,
            None,
            at(72),
            Some(&new),
        ),
        (
            "the old one is over before the switch",
            &during,
            Some(&old),
            at(230),
            Some(&new),
        ),
        (
            "the new one is not valid yet",
            &ahead,
            Some(&old),
            at(72),
            Some(&old),
        ),
        ("nothing is valid", &after, Some(&old), at(9000), None),
    ] {
        assert_eq!(rotation.choose(held, now), chosen, "{name}");
    }
}
