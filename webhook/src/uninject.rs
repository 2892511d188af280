//! Takes an injection back: what was added goes, what was changed becomes what it was.
//!
//! The status says what the originals were. It is a user's text, so it is followed only to places
//! where an injection may have been; what somebody has changed since stays as it is, and is said.

use json_patch::Patch;
use serde_json::Value;
use thiserror::Error;

use crate::annotations::STATUS;
use crate::decision::DecideError;
use crate::draft::{Draft, pointer};
use crate::existing::{self, Named};
use crate::hook;
use crate::message::fit;
use crate::pod::{Metadata, Pod};
use crate::sidecar::NAME;
use crate::status::Status;

/// How an injection is taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// Operations `remove` and `replace`, with pointers relative to the pod.
    pub patch: Patch,
    /// The pod without the injection.
    pub pod: Value,
    /// What could not be taken back, and why.
    pub warnings: Vec<String>,
}

/// Why an injection cannot be taken back.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UninjectError {
    /// The object has not the form of a pod.
    #[error("{}", .0.join("; "))]
    Malformed(Vec<String>),
    /// A fault of ours.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

/// Takes an injection back; `None` where there is none.
///
/// # Errors
/// When the object has a trace of an injection, and not the form of a pod.
pub fn uninject(pod: &Value) -> Result<Option<Removal>, UninjectError> {
    let removal = take_back(pod)?;
    Ok(removal.map(|removal| Removal {
        warnings: fit(removal.warnings),
        ..removal
    }))
}

pub(crate) fn take_back(object: &Value) -> Result<Option<Removal>, UninjectError> {
    if !has_trace(object) {
        return Ok(None);
    }
    let metadata = Metadata::read(object).map_err(UninjectError::Malformed)?;
    let pod = Pod::read(object).map_err(UninjectError::Malformed)?;
    let sidecar = match existing::find(&pod) {
        Some(Named::Ours(sidecar)) if !sidecar.is_hand_written() => Some(sidecar),
        _ => None,
    };
    let annotation = metadata.annotation(STATUS);
    if sidecar.is_none() && annotation.is_none() {
        return Ok(None);
    }
    let mut warnings = Vec::new();
    // A status that does not know of the sidecar was begun anew after the injection, and knows of none
    // of its hooks: without their sidecar they would fail at every stop.
    let knows_sidecar = |status: &Status| {
        sidecar.as_ref().is_none_or(|sidecar| {
            status.notes(&pointer(&["spec", sidecar.container.list.key(), NAME]))
        })
    };
    let status = annotation.and_then(Status::read);
    let is_whole = status.as_ref().is_some_and(knows_sidecar);
    if !is_whole {
        warnings.push(format!(
            "{STATUS} is missing or broken: hooks and the sidecar are taken back, the grace period \
             and the probes' only where it tells what they were"
        ));
    }
    let mut taking = Taking {
        draft: Draft::of(object, Status::default()),
        has_whole_status: is_whole,
        status: status.unwrap_or_default(),
        warnings,
    };
    for container in pod.running().filter(|container| container.name != NAME) {
        let port = sidecar.as_ref().map(|sidecar| sidecar.port);
        if container
            .pre_stop
            .is_some_and(|there| hook::is_ours(there, port))
        {
            taking.hook(&hook::place(container));
        }
    }
    taking.plain_values(&pod);
    taking.pull_secrets();
    if let Some(sidecar) = &sidecar {
        let list = ["spec", sidecar.container.list.key()];
        taking.draft.remove(&[list[0], list[1], NAME]);
        taking.prune(&list);
    }
    taking.annotation();
    taking.prune(&["metadata", "annotations"]);
    taking.prune(&["metadata"]);
    let (patch, pod) = taking.draft.finish()?;
    Ok(Some(Removal {
        patch,
        pod,
        warnings: taking.warnings,
    }))
}

/// Whether there is anything to be taken back. What is wrong with somebody else's pod is nothing to
/// stop at.
fn has_trace(object: &Value) -> bool {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let mut containers = lists
        .iter()
        .filter_map(|list| object.pointer(list)?.as_array())
        .flatten();
    object["metadata"]["annotations"].get(STATUS).is_some()
        || containers.any(|container| container["name"] == NAME)
}

struct Taking {
    draft: Draft,
    status: Status,
    /// Whether the status could be read and says all that was done.
    has_whole_status: bool,
    warnings: Vec<String>,
}

impl Taking {
    /// A hook of ours goes, or gives way to the original.
    fn hook(&mut self, place: &[&str; 5]) {
        let noted = pointer(place);
        if self.has_whole_status && !self.status.notes(&noted) {
            // It asked the sidecar's port before there was a sidecar.
            return;
        }
        let original = self
            .status
            .changed
            .get(&noted)
            .and_then(|change| change.was.clone());
        match original {
            Some(original) => self.draft.replace_own(place, original),
            None => self.draft.remove(place),
        }
        self.prune(&place[..4]);
    }

    /// Grace periods become what they were, unless somebody has changed them since.
    fn plain_values(&mut self, pod: &Pod<'_>) {
        const GRACE: &str = "terminationGracePeriodSeconds";
        self.plain_value(&["spec", GRACE]);
        for container in pod.running().filter(|container| container.name != NAME) {
            for probe in container.probes.iter().filter(|probe| probe.kind.kills()) {
                let list = container.list.key();
                self.plain_value(&["spec", list, container.name, probe.kind.key(), GRACE]);
            }
        }
    }

    fn plain_value(&mut self, place: &[&str]) {
        let Some(change) = self.status.changed.get(&pointer(place)).cloned() else {
            return;
        };
        let there = self.draft.at(place);
        if there.is_none() {
            return;
        }
        if there != change.now.as_ref() {
            self.warnings.push(format!(
                "{} was changed since: left as it is",
                place.join(".")
            ));
            return;
        }
        match change.was {
            Some(original) => self.draft.replace_own(place, original),
            None => self.draft.remove(place),
        }
    }

    fn pull_secrets(&mut self) {
        let list = ["spec", "imagePullSecrets"];
        let names = self
            .draft
            .at(&list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let names: Vec<String> = names
            .filter_map(|item| Some(item.get("name")?.as_str()?.to_owned()))
            .collect();
        for name in names {
            let place = [list[0], list[1], &name];
            if self.status.added.contains(&pointer(&place)) {
                self.draft.remove(&place);
            }
        }
        self.prune(&list);
    }

    /// The status itself goes, or gives way to what stood there without an injection.
    fn annotation(&mut self) {
        let place = ["metadata", "annotations", STATUS];
        match self
            .status
            .changed
            .get(&pointer(&place))
            .and_then(|change| change.was.clone())
        {
            Some(original) => self.draft.replace_own(&place, original),
            None => self.draft.remove(&place),
        }
    }

    /// Removes an object or list that was made for ours and is empty now, or makes it the null that
    /// it was.
    fn prune(&mut self, place: &[&str]) {
        let empty = match self.draft.at(place) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            _ => false,
        };
        if !empty {
            return;
        }
        let place_pointer = pointer(place);
        let was_null = self
            .status
            .changed
            .get(&place_pointer)
            .is_some_and(|change| change.was == Some(Value::Null));
        if was_null {
            self.draft.replace_own(place, Value::Null);
        } else if self.status.added.contains(&place_pointer) {
            self.draft.remove(place);
        }
    }
}
