//! The Secret that holds the rotation, key by key.
//!
//! Its type is `Opaque`: `kubernetes.io/tls` promises a certificate that somebody may serve, and
//! tools that look for such would take the CA for one. All keys are always there; an empty one
//! means that there is none. (A key that is left out of an apply stays where somebody else, a
//! restored backup for example, owns it too.)

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::certificate::{Certificate, bundle_pem};
use crate::rotation::{Part, Parts, Phase, Rotation};

/// Annotation on the Secret that asks for a rotation: each new value asks once.
pub const ROTATE_ANNOTATION: &str = "drainhook.io/rotate";

const CURRENT: [&str; 2] = ["current.crt", "current.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const PREVIOUS: &str = "previous.crt";
const PUBLISHED: &str = "ca.crt";
const PHASE: &str = "phase";
const SINCE: &str = "since";
const HONOURED: &str = "rotate";

/// Which Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret {}/{}", self.namespace, self.name)
    }
}

/// The Secret that was seen, and no other: what a write has to be made against.
///
/// The `resourceVersion` alone is not enough. A server-side apply that finds nothing creates, whatever
/// version it names; only where it names a `uid` is it refused as a conflict.
#[derive(Clone, Debug)]
pub(super) struct Version {
    uid: String,
    resource_version: String,
}

impl Version {
    /// That of an object as an API server gives it.
    pub(super) fn of(secret: &Secret) -> Option<Self> {
        Some(Self {
            uid: secret.uid()?,
            resource_version: secret.resource_version()?,
        })
    }

    /// The metadata of an apply that holds for this version only.
    pub(super) fn metadata(&self, name: &SecretName) -> Value {
        json!({
            "namespace": name.namespace,
            "name": name.name,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
        })
    }
}

/// What stands in the Secret.
pub(super) fn parts(secret: &Secret) -> Parts {
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let mut damage = Vec::new();
    let current = part(data, CURRENT, &mut damage);
    let next = part(data, NEXT, &mut damage);
    let previous = certificates(data, PREVIOUS, &mut damage);
    let published = certificates(data, PUBLISHED, &mut damage);
    let phase = text(data, PHASE).and_then(|label| {
        let phase = Phase::from_label(label);
        if phase.is_none() {
            damage.push(format!("{PHASE} is none that is known"));
        }
        phase
    });
    let since = text(data, SINCE).and_then(|written| {
        let since = humantime::parse_rfc3339(written).ok();
        if since.is_none() {
            damage.push(format!("{SINCE} is not a time as RFC 3339 writes it"));
        }
        since
    });
    let honoured = text(data, HONOURED).map(str::to_owned);
    Parts {
        current,
        next,
        previous,
        published,
        phase,
        since,
        honoured,
        damage,
    }
}

/// The request for a rotation that stands on the Secret.
pub(super) fn request(secret: &Secret) -> Option<String> {
    secret
        .annotations()
        .get(ROTATE_ANNOTATION)
        .filter(|value| !value.is_empty())
        .cloned()
}

/// The Secret as it is applied, if it still is at `version`.
pub(super) fn applied(name: &SecretName, version: &Version, rotation: &Rotation) -> Value {
    let pair = |authority: Option<&Authority>| match authority {
        Some(authority) => (
            authority.certificate.to_pem(),
            authority.key_pem().as_str().to_owned(),
        ),
        None => Default::default(),
    };
    let (current_certificate, current_key) = pair(rotation.current.as_ref());
    let (next_certificate, next_key) = pair(rotation.next.as_ref());
    let contents: [(&str, String); 9] = [
        (CURRENT[0], current_certificate),
        (CURRENT[1], current_key),
        (NEXT[0], next_certificate),
        (NEXT[1], next_key),
        (PREVIOUS, bundle_pem(&rotation.previous)),
        (PUBLISHED, bundle_pem(&rotation.published)),
        (PHASE, rotation.phase.label().to_owned()),
        (SINCE, written(rotation.since)),
        (HONOURED, rotation.honoured.clone().unwrap_or_default()),
    ];
    let data: BTreeMap<&str, ByteString> = contents
        .into_iter()
        .map(|(key, contents)| (key, ByteString(contents.into_bytes())))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": version.metadata(name),
        "data": data,
    })
}

/// The time as the Secret keeps it: exact to the millisecond, and so is what is compared with it.
fn written(moment: SystemTime) -> String {
    humantime::format_rfc3339_millis(moment).to_string()
}

fn part(
    data: &BTreeMap<String, ByteString>,
    [certificate, key]: [&str; 2],
    damage: &mut Vec<String>,
) -> Part {
    match (bytes(data, certificate), bytes(data, key)) {
        (None, None) => Part::Absent,
        (text, key_text) => {
            let text = text.unwrap_or_default();
            match Authority::parse(text, key_text.unwrap_or_default()) {
                Ok(authority) => Part::Whole(authority),
                Err(error) => {
                    damage.push(format!("{certificate} and {key}: {error}"));
                    let readable = Certificate::parse_pem(text).ok();
                    Part::Damaged(readable.and_then(|mut readable| readable.pop()))
                }
            }
        }
    }
}

fn certificates(
    data: &BTreeMap<String, ByteString>,
    key: &str,
    damage: &mut Vec<String>,
) -> Vec<Certificate> {
    Certificate::parse_pem(bytes(data, key).unwrap_or_default()).unwrap_or_else(|error| {
        damage.push(format!("{key}: {error}"));
        Vec::new()
    })
}

fn text<'a>(data: &'a BTreeMap<String, ByteString>, key: &str) -> Option<&'a str> {
    bytes(data, key).map(|bytes| str::from_utf8(bytes).unwrap_or("?"))
}

fn bytes<'a>(data: &'a BTreeMap<String, ByteString>, key: &str) -> Option<&'a [u8]> {
    let ByteString(bytes) = data.get(key)?;
    (!bytes.is_empty()).then_some(bytes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifetimes::Lifetimes;

    fn name() -> SecretName {
        SecretName {
            namespace: "gateways".to_owned(),
            name: "drainhook-ca".to_owned(),
        }
    }

    fn stored(rotation: &Rotation) -> Secret {
        let version = Version {
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
        };
        serde_json::from_value(applied(&name(), &version, rotation)).unwrap()
    }

    fn authority() -> Authority {
        Authority::issue("drainhook", SystemTime::now(), &Lifetimes::default()).unwrap()
    }

    fn rotation(phase: Phase) -> Rotation {
        let between = matches!(phase, Phase::Publishing | Phase::Published);
        Rotation {
            phase,
            since: humantime::parse_rfc3339("2026-11-21T10:00:00.125Z").unwrap(),
            current: Some(authority()),
            next: between.then(authority),
            previous: if phase == Phase::Switched {
                vec![authority().certificate]
            } else {
                vec![]
            },
            published: vec![authority().certificate],
            honoured: Some("please".to_owned()),
        }
    }

    #[test]
    fn what_is_written_is_read_back_in_every_phase() {
        for phase in Phase::ALL {
            let rotation = rotation(phase);
            let read = parts(&stored(&rotation)).assemble().unwrap();
            assert_eq!(read, rotation);
            let keys = |rotation: &Rotation| {
                let authorities = [&rotation.current, &rotation.next];
                authorities.map(|one| one.as_ref().map(Authority::key_pem))
            };
            assert_eq!(keys(&read), keys(&rotation));
        }
    }

    #[test]
    fn all_keys_are_always_written_so_that_nobody_elses_ownership_keeps_one() {
        for phase in Phase::ALL {
            let keys: Vec<_> = stored(&rotation(phase)).data.unwrap().into_keys().collect();
            assert_eq!(
                keys,
                [
                    "ca.crt",
                    "current.crt",
                    "current.key",
                    "next.crt",
                    "next.key",
                    "phase",
                    "previous.crt",
                    "rotate",
                    "since"
                ]
            );
        }
    }

    #[test]
    fn every_damaged_key_is_named_and_the_rest_is_read() {
        let mut secret = stored(&rotation(Phase::Published));
        let data = secret.data.as_mut().unwrap();
        let kept = data["next.crt"].clone();
        data.insert("current.key".to_owned(), ByteString(b"garbage".to_vec()));
        data.insert("since".to_owned(), ByteString(b"yesterday".to_vec()));
        data.insert("phase".to_owned(), ByteString(vec![0xff]));
        data.get_mut("ca.crt").unwrap().0.truncate(100);
        let parts = parts(&secret);
        assert_eq!(parts.damage.len(), 4, "{:?}", parts.damage);
        assert!(matches!(parts.current, Part::Damaged(Some(_))));
        let Part::Whole(next) = &parts.next else {
            panic!("{:?}", parts.next)
        };
        assert_eq!(next.certificate.to_pem().into_bytes(), kept.0);
        assert!(parts.assemble().is_err());
    }

    #[test]
    fn a_key_of_another_ca_is_damage_that_leaves_the_certificate() {
        let mut secret = stored(&rotation(Phase::Steady));
        let other = ByteString(authority().key_pem().as_bytes().to_vec());
        secret
            .data
            .as_mut()
            .unwrap()
            .insert("current.key".to_owned(), other);
        let parts = parts(&secret);
        assert_eq!(
            parts.damage,
            ["current.crt and current.key: the key is not that of the certificate"]
        );
        assert!(matches!(parts.current, Part::Damaged(Some(_))));
    }

    #[test]
    fn an_empty_secret_has_no_parts_and_no_damage() {
        let parts = parts(&Secret::default());
        assert!(parts.damage.is_empty());
        assert!(matches!(
            (parts.current, parts.next),
            (Part::Absent, Part::Absent)
        ));
    }

    #[test]
    fn no_key_is_shown_by_debug() {
        let shown = format!("{:?}", rotation(Phase::Published));
        assert!(shown.contains("(redacted)"));
        assert!(
            !shown.contains("PRIVATE") && !shown.contains("48, 129"),
            "{shown}"
        );
    }
}
