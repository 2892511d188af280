//! What a JSON patch means for the nodes of a document, before any text is touched.

use std::collections::{BTreeMap, BTreeSet};

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::edit::EditError;
use super::tree::{Entry, Kind, NodeId, Tree};
use super::value::{MAX_DEPTH, is_merge, key_name};

/// What becomes of one node.
#[derive(Debug, Default)]
pub(super) enum Plan {
    /// Its text stays.
    #[default]
    Keep,
    /// It gets another value as a whole.
    Replace(Value),
    /// Some of its entries change. Indices are those of the tree's entries.
    Mapping {
        removed: BTreeSet<usize>,
        changed: BTreeMap<usize, Plan>,
        added: Vec<(String, Value)>,
    },
    /// Some of its items change.
    Sequence(Vec<Planned>),
}

/// One item of a sequence as it will be.
#[derive(Debug)]
pub(super) enum Planned {
    /// The tree's item of this index.
    Old(usize, Plan),
    New(Value),
}

/// Applies the operations of `patch`, whose paths are relative to `prefix`, to the plan of a
/// document.
pub(super) fn apply(
    plan: &mut Plan,
    tree: &Tree,
    line: &dyn Fn(usize) -> usize,
    prefix: &[String],
    patch: &Patch,
) -> Result<(), EditError> {
    let root = tree.root().ok_or_else(|| EditError::Missing {
        pointer: "/".into(),
    })?;
    for operation in &patch.0 {
        let (path, operation) = match operation {
            PatchOperation::Add(op) => (&op.path, Operation::Add(&op.value)),
            PatchOperation::Replace(op) => (&op.path, Operation::Replace(&op.value)),
            PatchOperation::Remove(op) => (&op.path, Operation::Remove),
            // Whether it holds is seen where the patch is applied to the value.
            PatchOperation::Test(_) => continue,
            PatchOperation::Move(op) => {
                return Err(EditError::Operation {
                    pointer: op.path.to_string(),
                });
            }
            PatchOperation::Copy(op) => {
                return Err(EditError::Operation {
                    pointer: op.path.to_string(),
                });
            }
        };
        let mut tokens = prefix.to_vec();
        tokens.extend(path.tokens().map(|token| token.decoded().into_owned()));
        Step {
            tree,
            line,
            tokens: &tokens,
            operation,
        }
        .node(plan, root, 0)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Operation<'a> {
    Add(&'a Value),
    Replace(&'a Value),
    Remove,
}

/// One operation on its way down the tree.
struct Step<'a> {
    tree: &'a Tree,
    line: &'a dyn Fn(usize) -> usize,
    tokens: &'a [String],
    operation: Operation<'a>,
}

impl Step<'_> {
    fn node(&self, plan: &mut Plan, id: NodeId, depth: usize) -> Result<(), EditError> {
        let node = self.tree.node(id);
        let here = || (self.pointer(depth), (self.line)(node.start));
        if depth == self.tokens.len() {
            return match self.operation {
                Operation::Add(value) | Operation::Replace(value) => {
                    *plan = Plan::Replace(value.clone());
                    Ok(())
                }
                Operation::Remove => Err(self.missing()),
            };
        }
        if let Plan::Replace(value) = plan {
            return self.value(value, depth);
        }
        if node.shared {
            let (pointer, line) = here();
            return Err(EditError::Shared { pointer, line });
        }
        match &node.kind {
            Kind::Alias(_) => {
                let (pointer, line) = here();
                Err(EditError::Alias { pointer, line })
            }
            Kind::Scalar { .. } => Err(self.missing()),
            Kind::Mapping { entries, .. } => self.mapping(plan, entries, depth),
            Kind::Sequence { items, .. } => {
                if matches!(plan, Plan::Keep) {
                    let kept = (0..items.len()).map(|index| Planned::Old(index, Plan::Keep));
                    *plan = Plan::Sequence(kept.collect());
                }
                let Plan::Sequence(planned) = plan else {
                    return Err(self.missing());
                };
                self.sequence(planned, depth, |index| items[index].node)
            }
        }
    }

    fn mapping(&self, plan: &mut Plan, entries: &[Entry], depth: usize) -> Result<(), EditError> {
        if matches!(plan, Plan::Keep) {
            *plan = Plan::Mapping {
                removed: BTreeSet::new(),
                changed: BTreeMap::new(),
                added: Vec::new(),
            };
        }
        let Plan::Mapping {
            removed,
            changed,
            added,
        } = plan
        else {
            return Err(self.missing());
        };
        let key = &self.tokens[depth];
        let last = depth + 1 == self.tokens.len();
        let found = entries.iter().position(|entry| {
            !is_merge(self.tree, entry) && key_name(self.tree, entry.key).as_ref() == Some(key)
        });
        let merges =
            |entry: &&Entry| is_merge(self.tree, entry) && brings(self.tree, entry.value, key, 0);
        if let Some(index) = found.filter(|index| !removed.contains(index)) {
            let goes = last && matches!(self.operation, Operation::Remove);
            // A `<<` behind the entry wins over it, and any brings the key where the entry goes.
            let from = if goes { 0 } else { index };
            if let Some(merge) = entries[from..].iter().find(merges) {
                return Err(EditError::Merged {
                    pointer: self.pointer(depth + 1),
                    line: (self.line)(merge.start),
                });
            }
            if goes {
                removed.insert(index);
                changed.remove(&index);
                return Ok(());
            }
            return self.node(
                changed.entry(index).or_default(),
                entries[index].value,
                depth + 1,
            );
        }
        if let Some(at) = added.iter().position(|(name, _)| name == key) {
            if last && matches!(self.operation, Operation::Remove) {
                added.remove(at);
                return Ok(());
            }
            return self.value(&mut added[at].1, depth + 1);
        }
        // A key that a `<<` brings along is no key of this mapping: it stands somewhere else.
        match (self.operation, entries.iter().find(merges)) {
            (Operation::Add(value), None) if last => {
                match found {
                    // Removed before: it comes back at its place.
                    Some(index) => {
                        removed.remove(&index);
                        changed.insert(index, Plan::Replace(value.clone()));
                    }
                    None => added.push((key.clone(), value.clone())),
                }
                Ok(())
            }
            (_, Some(merge)) => Err(EditError::Merged {
                pointer: self.pointer(depth + 1),
                line: (self.line)(merge.start),
            }),
            _ => Err(self.missing()),
        }
    }

    fn sequence(
        &self,
        planned: &mut Vec<Planned>,
        depth: usize,
        node: impl Fn(usize) -> NodeId,
    ) -> Result<(), EditError> {
        let token = self.tokens[depth].as_str();
        let last = depth + 1 == self.tokens.len();
        let adds = last && matches!(self.operation, Operation::Add(_));
        let index = match token {
            "-" if adds => planned.len(),
            _ => token.parse().map_err(|_| self.missing())?,
        };
        match self.operation {
            Operation::Add(value) if last && index <= planned.len() => {
                planned.insert(index, Planned::New(value.clone()));
                return Ok(());
            }
            Operation::Remove if last && index < planned.len() => {
                planned.remove(index);
                return Ok(());
            }
            _ => {}
        }
        match planned.get_mut(index) {
            Some(Planned::Old(old, plan)) => {
                let node = node(*old);
                self.node(plan, node, depth + 1)
            }
            Some(Planned::New(value)) => self.value(value, depth + 1),
            None => Err(self.missing()),
        }
    }

    /// The rest of the path is inside of a value that is new as a whole.
    fn value(&self, value: &mut Value, depth: usize) -> Result<(), EditError> {
        let Some(token) = self.tokens.get(depth) else {
            return match self.operation {
                Operation::Add(new) | Operation::Replace(new) => {
                    *value = new.clone();
                    Ok(())
                }
                Operation::Remove => Err(self.missing()),
            };
        };
        let last = depth + 1 == self.tokens.len();
        match value {
            Value::Object(map) => match self.operation {
                Operation::Add(new) if last => {
                    map.insert(token.clone(), new.clone());
                    Ok(())
                }
                Operation::Remove if last => map
                    .shift_remove(token)
                    .map(drop)
                    .ok_or_else(|| self.missing()),
                _ => self.value(map.get_mut(token).ok_or_else(|| self.missing())?, depth + 1),
            },
            Value::Array(array) => {
                let index = match token.as_str() {
                    "-" => array.len(),
                    token => token.parse().map_err(|_| self.missing())?,
                };
                match self.operation {
                    Operation::Add(new) if last && index <= array.len() => {
                        array.insert(index, new.clone());
                        Ok(())
                    }
                    Operation::Remove if last && index < array.len() => {
                        array.remove(index);
                        Ok(())
                    }
                    _ => self.value(
                        array.get_mut(index).ok_or_else(|| self.missing())?,
                        depth + 1,
                    ),
                }
            }
            _ => Err(self.missing()),
        }
    }

    fn pointer(&self, depth: usize) -> String {
        let tokens = &self.tokens[..depth.min(self.tokens.len())];
        tokens
            .iter()
            .fold(String::new(), |pointer, token| child(&pointer, token))
    }

    fn missing(&self) -> EditError {
        EditError::Missing {
            pointer: self.pointer(self.tokens.len()),
        }
    }
}

/// Whether merging the node brings the key.
fn brings(tree: &Tree, id: NodeId, key: &str, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return true;
    }
    match &tree.node(id).kind {
        Kind::Alias(Some(target)) => brings(tree, *target, key, depth + 1),
        Kind::Sequence { items, .. } => items
            .iter()
            .any(|item| brings(tree, item.node, key, depth + 1)),
        Kind::Mapping { entries, .. } => entries.iter().any(|entry| {
            if is_merge(tree, entry) {
                brings(tree, entry.value, key, depth + 1)
            } else {
                key_name(tree, entry.key).as_deref() == Some(key)
            }
        }),
        Kind::Scalar { .. } | Kind::Alias(None) => false,
    }
}

/// The JSON pointer of a child.
pub(super) fn child(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// The tokens of a JSON pointer, decoded.
pub(super) fn tokens(pointer: &str) -> Vec<String> {
    let tokens = pointer.split('/').skip(1);
    tokens
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect()
}
