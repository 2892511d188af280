//! Injections that can be taken back to the byte.
//!
//! How a replaced value was written is noted in the status where the value alone does not say it.
//! Whether that is so is not guessed: each injection is taken back here, in memory, and compared.
//! Apart from the rest of the rewriting since it decides nothing: which patch a pod gets is settled
//! before.

use std::collections::BTreeMap;

use json_patch::Patch;
use serde_json::{Value, json};

use super::{Place, pod_value};
use crate::manifest::{Change, Document, EditError, edit};
use crate::status::Status;
use crate::uninject;

/// Where the status stands in a pod.
const STATUS_POINTER: &str = "/metadata/annotations/drainhook.io~1status";

/// A text with its documents.
pub(super) type Text = (String, Vec<Document>);

/// A pod that gets a patch.
pub(super) struct Patched {
    pub(super) place: Place,
    pub(super) patch: Patch,
}

/// Applies patches so that taking them back gives the bytes again.
pub(super) fn apply_reversibly(
    text: &str,
    documents: &[Document],
    mut patched: Vec<Patched>,
) -> Result<Text, Vec<(usize, EditError)>> {
    let none = BTreeMap::new();
    let apply = |patched: &[Patched]| {
        let changes: Vec<_> = patched
            .iter()
            .map(|patched| Change {
                document: patched.place.document,
                at: &patched.place.pod.pointer,
                patch: &patched.patch,
                sources: &none,
            })
            .collect();
        edit(text, documents, &changes)
    };
    let edited = apply(&patched)?;
    if comes_back(text, &edited.text, &edited.documents, &patched) {
        return Ok((edited.text, edited.documents));
    }
    for (patched, sources) in patched.iter_mut().zip(&edited.sources) {
        note_sources(
            patched,
            pod_value(&edited.documents, &patched.place),
            sources,
        );
    }
    match apply(&patched) {
        Ok(noted) if comes_back(text, &noted.text, &noted.documents, &patched) => {
            Ok((noted.text, noted.documents))
        }
        // Nothing is noted that does not help: the value alone will come back.
        _ => Ok((edited.text, edited.documents)),
    }
}

/// Whether taking the injections back gives the text.
fn comes_back(text: &str, injected: &str, documents: &[Document], patched: &[Patched]) -> bool {
    let mut removals = Vec::new();
    for patched in patched {
        let value = pod_value(documents, &patched.place);
        match uninject(value) {
            Ok(Some(removal)) => removals.push((patched, removal.patch, sources_of(value))),
            _ => return false,
        }
    }
    let changes: Vec<_> = removals
        .iter()
        .map(|(patched, patch, sources)| Change {
            document: patched.place.document,
            at: &patched.place.pod.pointer,
            patch,
            sources,
        })
        .collect();
    edit(injected, documents, &changes).is_ok_and(|restored| restored.text == text)
}

/// Has the patch note in the status how the values were written that it replaces.
fn note_sources(patched: &mut Patched, injected: &Value, sources: &BTreeMap<String, String>) {
    let Some(mut status) = Status::of(injected) else {
        return;
    };
    status.source = sources.clone();
    status.source.remove(STATUS_POINTER);
    status.source.retain(|_, source| !is_usual(source));
    if status.source.is_empty() {
        return;
    }
    let operation = json!([
        {"op": "replace", "path": STATUS_POINTER, "value": status.text()},
    ]);
    // It has this form, and else nothing is noted.
    if let Ok(Patch(operations)) = serde_json::from_value(operation) {
        patched.patch.0.extend(operations);
    }
}

/// Whether a number is written as it would be written anyway.
fn is_usual(source: &str) -> bool {
    let number: Option<i64> = source.trim().parse().ok();
    number.is_some_and(|number| source == format!(" {number}"))
}

/// How replaced values were written, as the status of an injected pod has it.
pub(super) fn sources_of(pod: &Value) -> BTreeMap<String, String> {
    Status::of(pod)
        .map(|status| status.source)
        .unwrap_or_default()
}

/// The pod, but for the notation of its replaced values.
pub(super) fn without_sources(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(mut status) = Status::of(&pod) {
        status.source.clear();
        status.write_to(&mut pod);
    }
    pod
}
