//! Applying a JSON patch to text, by place.
//!
//! Only what the patch names is touched; every other byte stays. The promise is kept in two ways:
//! the edits are computed from the places of the nodes, and the result is read again and compared
//! with the patched value. Where both differ nothing is given back.

use std::collections::BTreeMap;

use json_patch::Patch;
use serde_json::Value;

use super::document::{Document, SyntaxError, parse};
use super::plan::{self, Plan};
use super::render::Style;
use super::splice::{TextEdit, splice};
use super::text::line_number;
use super::write::Writer;

/// A patch for one object inside of one document.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Index into the documents.
    pub document: usize,
    /// JSON pointer of the object that the paths of the patch begin at; `""` is the document.
    pub at: &'a str,
    /// The operations; `add`, `replace` and `remove`.
    pub patch: &'a Patch,
    /// How a value was written before it was replaced (see [`Edited::sources`]). Where the patch
    /// gives such a value back, it is written so again, if that is the value. Keys are JSON
    /// pointers into the document as it is now, relative to `at`.
    pub sources: &'a BTreeMap<String, String>,
}

/// A text with its patches applied.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// Its documents.
    pub documents: Vec<Document>,
    /// For each change: how each value that it replaced was written, by its JSON pointer in the
    /// new document relative to `at`. Who stores them can have the bytes restored.
    pub sources: Vec<BTreeMap<String, String>>,
}

/// Why a patch cannot be applied to the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The node is an alias.
    #[error(
        "line {line}: {pointer} is an alias (`*...`); write its content out, so that it can \
             be changed here alone"
    )]
    Alias {
        /// The alias.
        pointer: String,
        /// Its line, from 1.
        line: usize,
    },
    /// The node, or one around it, has an anchor that aliases repeat elsewhere.
    #[error(
        "line {line}: {pointer} has an anchor (`&...`) that an alias repeats; a change here \
             would change both, so write the alias's content out"
    )]
    Shared {
        /// The anchored node.
        pointer: String,
        /// Its line, from 1.
        line: usize,
    },
    /// The node comes from a merge key.
    #[error(
        "line {line}: {pointer} comes from a merge key (`<<`); write it out where it is \
             merged, so that it can be changed here alone"
    )]
    Merged {
        /// The node that is to change.
        pointer: String,
        /// The line of the `<<`, from 1.
        line: usize,
    },
    /// A notation that is not edited.
    #[error("line {line}: {pointer} is written {notation}; write it {instead}")]
    Notation {
        /// The node that is to change.
        pointer: String,
        /// Its line, from 1.
        line: usize,
        /// How it is written.
        notation: &'static str,
        /// How it could be.
        instead: &'static str,
    },
    /// The patch names something that is not there.
    #[error("the patch does not fit: there is no {pointer}")]
    Missing {
        /// What is not there.
        pointer: String,
    },
    /// `move` and `copy` are not applied to text.
    #[error("the patch moves or copies {pointer}, which is not applied to text")]
    Operation {
        /// The operation's path.
        pointer: String,
    },
    /// The result, read again, is not the patched value. A fault of ours; nothing is written.
    #[error(
        "the edited text does not have the patched value; nothing was changed, and this is a \
             fault of drainhook: please report the document"
    )]
    Unequal,
}

/// Applies `changes` to `text`, whose documents [`parse`] gave.
///
/// # Errors
///
/// The first fault of each document, with the document's index.
pub fn edit(
    text: &str,
    documents: &[Document],
    changes: &[Change<'_>],
) -> Result<Edited, Vec<(usize, EditError)>> {
    let mut by_document: BTreeMap<usize, Vec<(usize, &Change<'_>)>> = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        by_document
            .entry(change.document)
            .or_default()
            .push((index, change));
    }
    let mut edits = Vec::new();
    let mut faults = Vec::new();
    let mut expected: Vec<Option<Value>> = vec![None; documents.len()];
    let mut sources = vec![BTreeMap::new(); changes.len()];
    let mut restores = false;
    let mut join = None;
    for (&index, changes) in &by_document {
        let Some(document) = documents.get(index) else {
            continue;
        };
        match edit_document(text, document, changes, &mut sources) {
            Ok(written) => {
                edits.extend(written.edits);
                restores |= written.restored;
                join = join.or(written.join.map(|fault| vec![(index, fault)]));
                expected[index] = Some(written.value);
            }
            Err(fault) => faults.push((index, fault)),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let unequal = || {
        vec![(
            changes.first().map_or(0, |change| change.document),
            EditError::Unequal,
        )]
    };
    let edited = splice(text, edits).ok_or_else(unequal)?;
    let wanted = |(index, document): (usize, &Document)| {
        expected
            .get(index)
            .and_then(Option::as_ref)
            .or_else(|| documents.get(index).map(|document| &document.value))
            == Some(&document.value)
    };
    match parse(&edited) {
        Ok(after) if after.len() == documents.len() && after.iter().enumerate().all(wanted) => {
            Ok(Edited {
                text: edited,
                documents: after,
                sources,
            })
        }
        // What was remembered is not the value any more, say because somebody indented the file
        // anew: then the value alone is given back.
        _ if restores => {
            let none = BTreeMap::new();
            let plain: Vec<_> = changes
                .iter()
                .map(|change| Change {
                    sources: &none,
                    ..*change
                })
                .collect();
            edit(text, documents, &plain)
        }
        _ => Err(join.unwrap_or_else(unequal)),
    }
}

/// Reads bytes, as a fuzzer has them, applies a patch to each document that it fits, and checks
/// the promises: no panic, and a second reading gives the patched values.
///
/// # Errors
///
/// What [`parse`] and [`edit`] refuse, in words.
pub fn edit_bytes(bytes: &[u8], patch: &Patch) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let join = |faults: Vec<SyntaxError>| {
        faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let documents = parse(text).map_err(join)?;
    let none = BTreeMap::new();
    let changes: Vec<_> = (0..documents.len())
        .filter(|&index| json_patch::patch(&mut documents[index].value.clone(), patch).is_ok())
        .map(|document| Change {
            document,
            at: "",
            patch,
            sources: &none,
        })
        .collect();
    let edited = edit(text, &documents, &changes).map_err(|faults| {
        faults
            .iter()
            .map(|(_, fault)| fault.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    Ok(edited.text)
}

struct Written {
    edits: Vec<TextEdit>,
    restored: bool,
    join: Option<EditError>,
    value: Value,
}

fn edit_document(
    text: &str,
    document: &Document,
    changes: &[(usize, &Change<'_>)],
    sources: &mut [BTreeMap<String, String>],
) -> Result<Written, EditError> {
    let tree = &document.tree;
    let line = |at| line_number(text, at);
    let mut value = document.value.clone();
    let mut plan = Plan::Keep;
    let mut remembered = BTreeMap::new();
    for (_, change) in changes {
        let missing = |pointer: String| EditError::Missing { pointer };
        let object = value
            .pointer_mut(change.at)
            .ok_or_else(|| missing(change.at.into()))?;
        json_patch::patch(object, change.patch)
            .map_err(|error| missing(format!("{}{}", change.at, error.path)))?;
        let prefix = plan::tokens(change.at);
        plan::apply(&mut plan, tree, &line, &prefix, change.patch)?;
        for (pointer, source) in change.sources {
            remembered.insert(format!("{}{pointer}", change.at), source.as_str());
        }
    }
    let style = Style::detect(text, tree, document.format);
    let mut writer = Writer::new(text, tree, &style, &remembered);
    writer.document(&plan)?;
    for (pointer, source) in writer.replaced {
        let inside = |at: &str| {
            pointer
                .strip_prefix(at)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let owner = changes.iter().find_map(|(index, change)| {
            inside(change.at).map(|relative| (*index, relative.to_owned()))
        });
        if let Some((index, relative)) = owner {
            sources[index].insert(relative, source);
        }
    }
    Ok(Written {
        edits: writer.edits,
        restored: writer.restored,
        join: writer.join,
        value,
    })
}
