//! Our annotations as they stand on a pod, before anything is made of them.

use crate::annotations::{self, Key, PREFIX, STATUS};
use crate::configuration::UnknownKeys;
use crate::decision::{Fault, RejectReason};
use crate::message::{MOST_MESSAGES, quoted};
use crate::value::Switch;

/// Our annotations of a pod, apart from all others.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodAnnotations<'a> {
    known: Vec<(Key, &'a str)>,
    /// Known, with a value that is longer than any may be.
    overlong: Vec<Key>,
    unknown: Vec<&'a str>,
}

/// Bytes. Lists of names are the longest values and are far below; what is longer is not looked at.
const LONGEST_VALUE: usize = 4096;

impl<'a> PodAnnotations<'a> {
    /// Picks ours out of a pod's annotations.
    pub(crate) fn of(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut ours = Self::default();
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix(PREFIX).filter(|_| key != STATUS) else {
                continue;
            };
            match annotations::find(name) {
                Some(annotation) if value.len() > LONGEST_VALUE => {
                    ours.overlong.push(annotation.key);
                }
                Some(annotation) => ours.known.push((annotation.key, value)),
                None => ours.unknown.push(name),
            }
        }
        // A map's order is nobody's intention.
        ours.known.sort_unstable();
        ours.overlong.sort_unstable();
        ours.unknown.sort_unstable();
        ours
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.overlong.is_empty() && self.unknown.is_empty()
    }

    /// The text of one.
    pub(crate) fn text(&self, key: Key) -> Option<&'a str> {
        self.known
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, text)| *text)
    }

    /// Whether the pod itself says that it takes part; `None` where it says nothing or nonsense.
    pub(crate) fn inject(&self) -> Option<bool> {
        Some(Switch::read(self.text(Key::Inject)?).ok()? == Switch::On)
    }

    /// Everything that is wrong with keys and values, taken each for itself.
    pub(crate) fn faults(&self, unknown_keys: UnknownKeys) -> (Vec<Fault>, Vec<String>) {
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        for name in self.unknown.iter().take(MOST_MESSAGES) {
            let said = unknown_key(name);
            match unknown_keys {
                UnknownKeys::Deny => faults.push(Fault::new(RejectReason::UnknownAnnotation, said)),
                UnknownKeys::Warn => warnings.push(said),
            }
        }
        for key in &self.overlong {
            let said = format!(
                "{}: the value is longer than {LONGEST_VALUE} bytes",
                key.full()
            );
            faults.push(Fault::new(RejectReason::BadValue, said));
        }
        for (key, text) in &self.known {
            if let Err(fault) = key.annotation().kind.check(text) {
                let said = format!("{}: {} {fault}", key.full(), quoted(text));
                faults.push(Fault::new(RejectReason::BadValue, said));
            }
        }
        (faults, warnings)
    }
}

pub(super) fn unknown_key(name: &str) -> String {
    let key = quoted(&format!("{PREFIX}{name}"));
    match annotations::nearest(name) {
        Some(meant) => format!("{key} is not a known annotation: did you mean {PREFIX}{meant}?"),
        None => format!("{key} is not a known annotation: docs/annotations.md lists them all"),
    }
}
