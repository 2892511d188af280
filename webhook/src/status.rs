//! The annotation `drainhook.io/status`: what was added, and the original of what was changed.
//!
//! It makes taking the injection back exact. It is never believed for deciding: what counts is the
//! container and the hooks that are really there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::annotations::STATUS;

/// What an injection did to a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of drainhook that did it.
    pub version: String,
    /// JSON pointers to what was added, parents first, with an item's name for its index.
    #[serde(default)]
    pub added: Vec<String>,
    /// What was changed, by the same kind of pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, Changed>,
    /// How changed values were written in the manifest, where the value alone does not say it
    /// (`0x1e`, a hook with comments), by JSON pointer. The command line's, for the command line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, String>,
}

/// A change of one value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The original; missing where there was none.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub was: Option<Value>,
    /// What was written, where it is a plain value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
}

/// A null that stands there is an original, too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Status {
    /// The version of this very drainhook.
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    /// The status of an injection that begins.
    pub(crate) fn begin() -> Self {
        Self {
            version: Self::VERSION.to_owned(),
            ..Self::default()
        }
    }

    /// Reads the annotation's text; `None` where it is not ours or was broken.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The annotation's text.
    pub(crate) fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// The status of a pod, where it has one that can be read.
    pub(crate) fn of(pod: &Value) -> Option<Self> {
        Self::read(
            pod.get("metadata")?
                .get("annotations")?
                .get(STATUS)?
                .as_str()?,
        )
    }

    /// Writes the status of a pod that has one.
    pub(crate) fn write_to(&self, pod: &mut Value) {
        let annotations = pod.pointer_mut("/metadata/annotations");
        if let Some(text) = annotations.and_then(|annotations| annotations.get_mut(STATUS)) {
            *text = Value::from(self.text());
        }
    }

    /// Whether it tells of what stands at a pointer, so that this is ours.
    pub(crate) fn notes(&self, pointer: &str) -> bool {
        self.changed.contains_key(pointer) || self.added.iter().any(|added| added == pointer)
    }

    pub(crate) fn add(&mut self, pointer: String) {
        if !self.added.contains(&pointer) {
            self.added.push(pointer);
        }
    }

    pub(crate) fn change(&mut self, pointer: String, change: Changed) {
        // The first original is the one to go back to.
        let earlier = self.changed.remove(&pointer);
        let was = earlier.map_or(change.was, |earlier| earlier.was);
        self.changed.insert(
            pointer,
            Changed {
                was,
                now: change.now,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut status = Status {
            version: "0.1.0".into(),
            ..Status::default()
        };
        status.add("/spec/containers/shutdown-manager".into());
        status.change(
            "/spec/x".into(),
            Changed {
                was: Some(json!(30)),
                now: Some(json!(305)),
            },
        );
        status.change(
            "/spec/z".into(),
            Changed {
                was: None,
                now: Some(json!(1)),
            },
        );
        status.change(
            "/spec/y".into(),
            Changed {
                was: Some(Value::Null),
                now: None,
            },
        );
        assert_eq!(Status::read(&status.text()), Some(status));
    }

    #[test]
    fn the_status_of_a_pod_is_read_and_written_where_there_is_one() {
        let mut status = Status::begin();
        let mut pod = json!({"metadata": {"annotations": {STATUS: status.text()}}});
        status.add("/spec/x".into());
        status.write_to(&mut pod);
        assert_eq!(Status::of(&pod), Some(status.clone()));
        assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
        let mut bare = json!({"metadata": {"annotations": {}}});
        status.write_to(&mut bare);
        assert_eq!(bare, json!({"metadata": {"annotations": {}}}));
    }

    #[test]
    fn the_first_original_is_kept() {
        let mut status = Status::default();
        status.change(
            "/x".into(),
            Changed {
                was: Some(json!(1)),
                now: Some(json!(2)),
            },
        );
        status.change(
            "/x".into(),
            Changed {
                was: Some(json!(2)),
                now: Some(json!(3)),
            },
        );
        assert_eq!(
            status.changed["/x"],
            Changed {
                was: Some(json!(1)),
                now: Some(json!(3))
            }
        );
    }

    #[test]
    fn what_is_not_ours_is_none() {
        for text in ["", "{", "[]", "{\"added\": []}", "true"] {
            assert_eq!(Status::read(text), None, "{text}");
        }
    }
}
