//! Injecting into texts, and taking injections out of them again.
//!
//! Whoever takes an injection back gets the bytes that were there before: see [`reversible`].

mod reversible;

use json_patch::Patch;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::input::Manifest;
use super::installation::Installation;
use crate::manifest::{Change, Document, EditError, Pod, edit, pods};
use crate::warn;
use crate::{
    Action, Configuration, DecideError, Decision, Explanation, Origin, Request, SkipReason, decide,
    explain, uninject,
};
use reversible::{Patched, Text, apply_reversibly, sources_of, without_sources};

/// One pod of a manifest.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Index into the manifest's documents.
    pub(super) document: usize,
    pub(super) pod: Pod,
}

/// What became of one pod.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) place: Place,
    pub(super) done: Done,
    pub(super) warnings: Vec<String>,
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Injected,
    Completed,
    Upgraded,
    Removed,
    Left(SkipReason),
    /// Nothing of ours is there to be taken back.
    Bare,
}

/// A manifest with all of its pods done.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) text: String,
    pub(super) outcomes: Vec<Outcome>,
}

/// All pods of a manifest.
pub(super) fn places(documents: &[Document]) -> Vec<Place> {
    let of_document = |(document, parsed): (usize, &Document)| {
        pods(&parsed.value)
            .into_iter()
            .map(move |pod| Place { document, pod })
            .collect::<Vec<_>>()
    };
    documents.iter().enumerate().flat_map(of_document).collect()
}

/// What a message calls a pod: file, document, line, object.
pub(super) fn display(manifest: &Manifest, place: &Place) -> String {
    let number = manifest
        .documents
        .get(place.document)
        .map_or(0, |document| document.number);
    format!(
        "{}: document {number}: {}",
        manifest.name,
        place.pod.display()
    )
}

/// Injects into every pod that asks.
///
/// # Errors
/// Every pod that is refused, with every reason.
pub(super) fn inject(
    manifest: &Manifest,
    installation: &Installation,
) -> Result<Rewritten, Failure> {
    let mut injection = Injection {
        manifest,
        installation,
        text: manifest.text.clone(),
        documents: manifest.documents.clone(),
        outcomes: Vec::new(),
        refused: Vec::new(),
        exit: Exit::Refused,
    };
    injection.run();
    if injection.refused.is_empty() {
        Ok(Rewritten {
            text: injection.text,
            outcomes: injection.outcomes,
        })
    } else {
        Err(Failure {
            exit: injection.exit,
            messages: injection.refused,
        })
    }
}

/// Takes every injection back.
///
/// # Errors
/// Every pod where that cannot be done.
pub(super) fn take_back(manifest: &Manifest) -> Result<Rewritten, Failure> {
    let mut removals = Vec::new();
    let mut outcomes = Vec::new();
    let mut refused = Vec::new();
    for place in places(&manifest.documents) {
        let value = pod_value(&manifest.documents, &place);
        match uninject(value) {
            Ok(None) => {
                outcomes.push(Outcome {
                    place,
                    done: Done::Bare,
                    warnings: Vec::new(),
                    notes: Vec::new(),
                });
            }
            Ok(Some(removal)) => {
                removals.push((place.clone(), removal.patch, sources_of(value)));
                let warnings = removal.warnings;
                outcomes.push(Outcome {
                    place,
                    done: Done::Removed,
                    warnings,
                    notes: Vec::new(),
                });
            }
            Err(error) => refused.push(format!("{}: {error}", display(manifest, &place))),
        }
    }
    if !refused.is_empty() {
        return Err(Failure {
            exit: Exit::Refused,
            messages: refused,
        });
    }
    let changes: Vec<_> = removals
        .iter()
        .map(|(place, patch, sources)| Change {
            document: place.document,
            at: &place.pod.pointer,
            patch,
            sources,
        })
        .collect();
    let edited = edit(&manifest.text, &manifest.documents, &changes)
        .map_err(|faults| edit_failure(manifest, faults))?;
    Ok(Rewritten {
        text: edited.text,
        outcomes,
    })
}

/// Injects into every pod of a text that asks, as `drainhook inject` does.
///
/// # Errors
/// In words: what is no YAML or JSON, and every pod that is refused.
pub fn inject_text(text: &str, configuration: &Configuration) -> Result<String, Vec<String>> {
    let manifest = Manifest::read("text", None, text.to_owned())?;
    let installation = Installation::new(configuration.clone(), std::slice::from_ref(&manifest));
    let rewritten = inject(&manifest, &installation);
    rewritten
        .map(|done| done.text)
        .map_err(|failure| failure.messages)
}

/// Takes every injection of a text back, as `drainhook uninject` does.
///
/// # Errors
/// In words: what is no YAML or JSON, and every pod where that cannot be done.
pub fn uninject_text(text: &str) -> Result<String, Vec<String>> {
    let manifest = Manifest::read("text", None, text.to_owned())?;
    take_back(&manifest)
        .map(|done| done.text)
        .map_err(|failure| failure.messages)
}

struct Injection<'a> {
    manifest: &'a Manifest,
    installation: &'a Installation,
    text: String,
    documents: Vec<Document>,
    outcomes: Vec<Outcome>,
    refused: Vec<String>,
    exit: Exit,
}

impl Injection<'_> {
    fn run(&mut self) {
        let mut patched = Vec::new();
        for place in places(&self.documents) {
            let misplaced = misplaced(&self.documents, &place);
            let (decision, explained) = match self.decide(&place) {
                Ok(decided) => decided,
                Err(error) => {
                    self.fault(&place, &error);
                    continue;
                }
            };
            let done = match decision {
                Decision::Skip { reason, .. } => Done::Left(reason),
                Decision::Inject { action, patch, .. } => match action {
                    Action::Upgraded => {
                        self.upgrade(&place, patch);
                        Done::Upgraded
                    }
                    Action::Injected | Action::Completed => {
                        let place = place.clone();
                        patched.push(Patched { place, patch });
                        match action {
                            Action::Completed => Done::Completed,
                            _ => Done::Injected,
                        }
                    }
                },
                Decision::Reject { messages, .. } => {
                    let name = display(self.manifest, &place);
                    self.refused
                        .extend(messages.iter().map(|said| format!("{name}: {said}")));
                    continue;
                }
            };
            self.outcomes.push(Outcome {
                place,
                done,
                warnings: [explained.warnings, misplaced].concat(),
                notes: explained.notes,
            });
        }
        if !self.refused.is_empty() || patched.is_empty() {
            return;
        }
        match apply_reversibly(&self.text, &self.documents, patched) {
            Ok((text, documents)) => (self.text, self.documents) = (text, documents),
            Err(faults) => {
                let failure = edit_failure(self.manifest, faults);
                self.exit = self.exit.max(failure.exit);
                self.refused.extend(failure.messages);
            }
        }
    }

    fn decide(&self, place: &Place) -> Result<(Decision, Explanation), DecideError> {
        explain(&Request {
            pod: pod_value(&self.documents, place),
            namespace: Some(&self.installation.namespace_of(&place.pod)),
            configuration: &self.installation.configuration,
            token: None,
            origin: Origin::Manifest,
        })
    }

    /// Takes the older injection out of the text and puts the newer one in, so that the text is as
    /// if there had never been an older one. Where that would give another pod than was decided,
    /// say because the older sidecar has a token, what was decided is done.
    fn upgrade(&mut self, place: &Place, patch: Patch) {
        let mut target = pod_value(&self.documents, place).clone();
        if json_patch::patch(&mut target, &patch).is_err() {
            return self.fault(place, &DecideError::GivesAnother);
        }
        let anew = self.inject_anew(place).filter(|(_, documents)| {
            without_sources(pod_value(documents, place)) == without_sources(&target)
        });
        let done = match anew {
            Some(done) => Ok(done),
            None => {
                let patched = vec![Patched {
                    place: place.clone(),
                    patch,
                }];
                apply_reversibly(&self.text, &self.documents, patched)
            }
        };
        match done {
            Ok((text, documents)) => (self.text, self.documents) = (text, documents),
            Err(faults) => {
                let failure = edit_failure(self.manifest, faults);
                self.exit = self.exit.max(failure.exit);
                self.refused.extend(failure.messages);
            }
        }
    }

    fn inject_anew(&self, place: &Place) -> Option<Text> {
        let value = pod_value(&self.documents, place);
        let removal = uninject(value).ok()??;
        let sources = sources_of(value);
        let change = Change {
            document: place.document,
            at: &place.pod.pointer,
            patch: &removal.patch,
            sources: &sources,
        };
        let bare = edit(&self.text, &self.documents, &[change]).ok()?;
        let request = Request {
            pod: pod_value(&bare.documents, place),
            namespace: Some(&self.installation.namespace_of(&place.pod)),
            configuration: &self.installation.configuration,
            token: None,
            origin: Origin::Manifest,
        };
        let Ok(Decision::Inject { patch, .. }) = decide(&request) else {
            return None;
        };
        let patched = vec![Patched {
            place: place.clone(),
            patch,
        }];
        apply_reversibly(&bare.text, &bare.documents, patched).ok()
    }

    fn fault(&mut self, place: &Place, error: &DecideError) {
        self.exit = Exit::Software;
        self.refused
            .push(format!("{}: {error}", display(self.manifest, place)));
    }
}

/// What was meant for the pod and stands where it has no effect.
pub(super) fn misplaced(documents: &[Document], place: &Place) -> Vec<String> {
    let object = documents[place.document].value.pointer(&place.pod.object);
    object.map_or_else(Vec::new, |object| {
        warn::misplaced(object, pod_value(documents, place))
    })
}

/// The pod of a place. Places come from the documents, so it is there.
pub(super) fn pod_value<'d>(documents: &'d [Document], place: &Place) -> &'d Value {
    const NOTHING: &Value = &Value::Null;
    documents
        .get(place.document)
        .and_then(|document| document.value.pointer(&place.pod.pointer))
        .unwrap_or(NOTHING)
}

fn edit_failure(manifest: &Manifest, faults: Vec<(usize, EditError)>) -> Failure {
    let software = faults.iter().any(|(_, fault)| {
        matches!(
            fault,
            EditError::Unequal | EditError::Missing { .. } | EditError::Operation { .. }
        )
    });
    let exit = if software {
        Exit::Software
    } else {
        Exit::Refused
    };
    let message = |(index, fault): (usize, EditError)| {
        let number = manifest
            .documents
            .get(index)
            .map_or(0, |document| document.number);
        format!("{}: document {number}: {fault}", manifest.name)
    };
    Failure {
        exit,
        messages: faults.into_iter().map(message).collect(),
    }
}
