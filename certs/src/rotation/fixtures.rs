//! CAs without keys and rotations without Kubernetes, for the tests of the core.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;

use super::{Configuration, Entry, Observed, Part, Parts, Phase, Rotation, SecretObserved};
use crate::authority::Authority;
use crate::certificate::{Certificate, Validity};
use crate::lifetimes::Lifetimes;

pub(super) const ORGANIZATION: &str = "drainhook";

/// The defaults' proportions in seconds.
pub(super) const LIFETIMES: Lifetimes = Lifetimes {
    authority: seconds(200),
    authority_rotation: seconds(60),
    overlap: seconds(10),
    leaf: seconds(24),
    leaf_renewal: seconds(8),
    backdate: seconds(1),
};

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + seconds(1_800_000_000 + second)
}

pub(super) fn mint(now: SystemTime) -> Authority {
    let validity = Validity {
        not_before: now - LIFETIMES.authority,
        not_after: now + LIFETIMES.authority,
    };
    Authority::pretend(certificate(Some(ORGANIZATION), validity))
}

pub(super) fn foreign(now: SystemTime) -> Certificate {
    let validity = Validity {
        not_before: now,
        not_after: now + seconds(1_000_000),
    };
    certificate(Some("somebody else"), validity)
}

fn certificate(organization: Option<&str>, validity: Validity) -> Certificate {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = COUNT.fetch_add(1, Ordering::Relaxed);
    Certificate {
        der: CertificateDer::from(unique.to_be_bytes().to_vec()),
        validity,
        organization: organization.map(str::to_owned),
        common_name: None,
        is_authority: true,
    }
}

pub(super) fn steady(current: &Authority, since: SystemTime) -> Rotation {
    Rotation {
        phase: Phase::Steady,
        since,
        current: Some(current.clone()),
        next: None,
        previous: Vec::new(),
        published: vec![current.certificate.clone()],
        honoured: None,
    }
}

pub(super) fn parts(rotation: &Rotation) -> Parts {
    let part = |authority: &Option<Authority>| match authority {
        Some(authority) => Part::Whole(authority.clone()),
        None => Part::Absent,
    };
    Parts {
        current: part(&rotation.current),
        next: part(&rotation.next),
        previous: rotation.previous.clone(),
        published: rotation.published.clone(),
        phase: Some(rotation.phase),
        since: Some(rotation.since),
        honoured: rotation.honoured.clone(),
        damage: Vec::new(),
    }
}

pub(super) fn entry(name: &str, bundle: &[Certificate]) -> Entry {
    Entry {
        name: name.to_owned(),
        bundle: bundle.to_vec(),
        garbage: false,
    }
}

/// Two configurations, the first with two entries, all with the same bundle.
pub(super) fn configurations(bundle: &[Certificate]) -> Vec<Configuration> {
    vec![
        Configuration::Found(vec![
            entry("annotation", bundle),
            entry("namespace", bundle),
        ]),
        Configuration::Found(vec![entry("warn", bundle)]),
    ]
}

pub(super) fn observed(rotation: &Rotation, configurations: Vec<Configuration>) -> Observed {
    let parts = Box::new(parts(rotation));
    Observed {
        secret: SecretObserved::Present {
            parts,
            request: None,
        },
        configurations,
    }
}
