//! A patch in the making: each step is done on a copy of the pod and noted as an operation.
//!
//! Items of a list are addressed by their `name`, so that a place stays the same place when somebody
//! else puts an item before it; only the operation has the index of the moment.

use json_patch::jsonptr::{PointerBuf, Token as Step};
use json_patch::{
    AddOperation, Patch, PatchError, PatchOperation, RemoveOperation, ReplaceOperation,
};
use serde_json::{Map, Value};

use crate::annotations::STATUS;
use crate::decision::DecideError;
use crate::status::{Changed, Status};

/// Where a new item of a list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Last,
    At(usize),
}

/// The copy of a pod that is being changed.
pub(crate) struct Draft {
    pod: Value,
    operations: Vec<PatchOperation>,
    /// The first operation that did not apply.
    fault: Option<PatchError>,
    status: Status,
}

impl Draft {
    pub(crate) fn of(original: &Value, status: Status) -> Self {
        Self {
            pod: original.clone(),
            operations: Vec::new(),
            fault: None,
            status,
        }
    }

    /// Whether nothing has been changed.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.operations.is_empty()
    }

    /// Sets a member of an object, with all objects on the way to it.
    pub(crate) fn set(&mut self, place: &[&str], value: Value) {
        let Some((last, parents)) = place.split_last() else {
            return;
        };
        let depth = self.existing(parents);
        if depth < parents.len() {
            // Missing, or null: Kubernetes takes both for the same.
            let inner = nested(&parents[depth + 1..], last, value);
            self.create(&place[..=depth], Value::Object(inner));
            self.note_added(place, depth + 1);
            return;
        }
        match self.at(place) {
            Some(current) if *current == value => {}
            Some(Value::Null) | None => self.create(place, value),
            Some(_) => self.replace(place, value),
        }
    }

    /// Sets a plain value, and notes what it was and what it is.
    pub(crate) fn set_plain(&mut self, place: &[&str], value: Value) {
        let was = self.at(place).cloned();
        if was.as_ref() == Some(&value) {
            return;
        }
        let path = self.concrete(place);
        self.perform(match was {
            None => add(path, value.clone()),
            Some(_) => replace(path, value.clone()),
        });
        self.status.change(
            pointer(place),
            Changed {
                was,
                now: Some(value),
            },
        );
    }

    /// Replaces something of our own, of which nothing is noted.
    pub(crate) fn replace_own(&mut self, place: &[&str], value: Value) {
        if self.at(place).is_some_and(|there| *there != value) {
            let path = self.concrete(place);
            self.perform(replace(path, value));
        }
    }

    /// Writes the annotation that tells what was done; the last step.
    pub(crate) fn write_status(&mut self) {
        let place = ["metadata", "annotations", STATUS];
        for parent in [&place[..1], &place[..2]] {
            match self.at(parent) {
                None => self.status.add(pointer(parent)),
                Some(Value::Null) => {
                    let was = Some(Value::Null);
                    self.status
                        .change(pointer(parent), Changed { was, now: None });
                }
                Some(_) => {}
            }
        }
        // One that stands there without an injection is somebody else's, like any other value.
        if let Some(was) = self.at(&place).cloned() {
            self.status.change(
                pointer(&place),
                Changed {
                    was: Some(was),
                    now: None,
                },
            );
        }
        self.set(&place, Value::String(self.status.text()));
    }

    /// Writes the annotation anew, where an earlier injection has left one.
    pub(crate) fn update_status(&mut self) {
        let place = ["metadata", "annotations", STATUS];
        let text = Value::String(self.status.text());
        match self.at(&place) {
            Some(Value::String(there)) if Status::read(there).is_some() => {
                self.replace_own(&place, text);
            }
            _ => self.write_status(),
        }
    }

    /// Puts an item that has a `name` into a list, with all objects on the way to it.
    pub(crate) fn insert(&mut self, list: &[&str], item: Value, position: Position) {
        let name = item["name"].as_str().unwrap_or_default().to_owned();
        let mut place = list.to_vec();
        place.push(&name);
        match self.at(list).and_then(Value::as_array) {
            None => {
                self.set(list, Value::Array(vec![item]));
                self.status.add(pointer(&place));
            }
            Some(items) => {
                let index = match position {
                    Position::Last => items.len(),
                    Position::At(index) => index.min(items.len()),
                };
                let mut path = self.concrete(list);
                path.push_back(Step::from(index));
                self.perform(add(path, item));
                self.status.add(pointer(&place));
            }
        }
    }

    /// Adds an item to a list of our own, of which nothing is noted.
    pub(crate) fn extend_own(&mut self, list: &[&str], item: Value) {
        let mut path = self.concrete(list);
        match self.at(list).and_then(Value::as_array).map(Vec::len) {
            Some(length) => {
                path.push_back(Step::from(length));
                self.perform(add(path, item));
            }
            None => self.perform(add(path, Value::Array(vec![item]))),
        }
    }

    /// Removes what stands there.
    pub(crate) fn remove(&mut self, place: &[&str]) {
        if self.at(place).is_some() {
            let path = self.concrete(place);
            self.perform(PatchOperation::Remove(RemoveOperation { path }));
        }
    }

    /// What stands there.
    pub(crate) fn at(&self, place: &[&str]) -> Option<&Value> {
        place
            .iter()
            .try_fold(&self.pod, |value, step| child(value, step))
    }

    /// The patch and what it makes of the pod: nothing else has made the one from the other.
    ///
    /// # Errors
    /// When an operation did not apply: a fault of ours.
    pub(crate) fn finish(self) -> Result<(Patch, Value), DecideError> {
        match self.fault {
            None => Ok((Patch(self.operations), self.pod)),
            Some(fault) => Err(DecideError::DoesNotApply(fault.to_string())),
        }
    }

    /// Writes a value where there is nothing or null.
    fn create(&mut self, place: &[&str], value: Value) {
        let was_null = self.at(place).is_some_and(Value::is_null);
        let path = self.concrete(place);
        self.perform(add(path, value));
        if was_null {
            self.status.change(
                pointer(place),
                Changed {
                    was: Some(Value::Null),
                    now: None,
                },
            );
        } else {
            self.status.add(pointer(place));
        }
    }

    fn replace(&mut self, place: &[&str], value: Value) {
        let was = self.at(place).cloned().unwrap_or_default();
        let path = self.concrete(place);
        self.perform(replace(path, value));
        self.status.change(
            pointer(place),
            Changed {
                was: Some(was),
                now: None,
            },
        );
    }

    fn note_added(&mut self, place: &[&str], from: usize) {
        for end in from..place.len() {
            self.status.add(pointer(&place[..=end]));
        }
    }

    /// How many of these steps lead to something that is there.
    fn existing(&self, steps: &[&str]) -> usize {
        let there = |depth: &usize| {
            self.at(&steps[..*depth])
                .is_some_and(|value| !value.is_null())
        };
        (1..=steps.len()).take_while(there).count()
    }

    /// The pointer of the moment, with indexes for names.
    fn concrete(&self, place: &[&str]) -> PointerBuf {
        let mut path = PointerBuf::new();
        let mut value = Some(&self.pod);
        for step in place {
            match value
                .and_then(Value::as_array)
                .and_then(|items| index_of(items, step))
            {
                Some(index) => path.push_back(Step::from(index)),
                None => path.push_back(Step::new(*step)),
            }
            value = value.and_then(|value| child(value, step));
        }
        path
    }

    /// The only way in which the copy is changed.
    fn perform(&mut self, operation: PatchOperation) {
        let applied = json_patch::patch(&mut self.pod, std::slice::from_ref(&operation));
        self.fault = self.fault.take().or(applied.err());
        self.operations.push(operation);
    }
}

/// Applies the patch to the pod that it was made for and compares.
///
/// # Errors
/// When it does not apply, or gives something else.
pub(crate) fn verify(original: &Value, patch: &Patch, expected: &Value) -> Result<(), DecideError> {
    let mut patched = original.clone();
    json_patch::patch(&mut patched, patch)
        .map_err(|fault| DecideError::DoesNotApply(fault.to_string()))?;
    if patched == *expected {
        Ok(())
    } else {
        Err(DecideError::GivesAnother)
    }
}

/// A place as it is noted in the status: a JSON pointer with names for indexes.
pub(crate) fn pointer(place: &[&str]) -> String {
    PointerBuf::from_tokens(place.iter().map(|step| Step::new(*step))).to_string()
}

fn add(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path, value })
}

fn replace(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path, value })
}

fn child<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(step),
        Value::Array(items) => items.get(index_of(items, step)?),
        _ => None,
    }
}

fn index_of(items: &[Value], name: &str) -> Option<usize> {
    items
        .iter()
        .position(|item| item.get("name").and_then(Value::as_str) == Some(name))
}

fn nested(parents: &[&str], last: &str, value: Value) -> Map<String, Value> {
    let innermost = Map::from_iter([(last.to_owned(), value)]);
    parents.iter().rev().fold(innermost, |inner, parent| {
        Map::from_iter([((*parent).to_owned(), Value::Object(inner))])
    })
}

#[cfg(test)]
mod tests;
