//! The value of a tree, as Kubernetes reads it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::scalar;
use super::tree::{Entry, Kind, NodeId, Style, Tree};

/// How deep values may nest, aliases included. `serde_json` stops at 128 as well, and no object of
/// Kubernetes comes near.
pub(super) const MAX_DEPTH: usize = 128;

/// How many nodes aliases may repeat before the document is taken for an attack ("billion laughs").
const MAX_REPEATED: usize = 100_000;

/// Why a document has no value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the key {key:?} stands twice in one mapping (first in line {first}); remove one")]
    Duplicate { key: String, first: usize },
    #[error("a mapping's key must be a string, a number or a boolean")]
    Key,
    #[error("`{0}` has no form in JSON, which Kubernetes reads YAML as")]
    NoJson(String),
    #[error("a scalar of the tag `!!{tag}` cannot be `{text}`")]
    Tag { tag: String, text: String },
    #[error("`<<` merges mappings only")]
    Merge,
    #[error("the alias is inside of the node that it repeats")]
    Cycle,
    #[error("values nest deeper than {MAX_DEPTH} levels")]
    Depth,
    #[error("aliases repeat more than {MAX_REPEATED} nodes")]
    Repeats,
}

/// Computes values, and collects every fault with the byte offset of its node.
pub(super) struct Reader<'a> {
    tree: &'a Tree,
    line: &'a dyn Fn(usize) -> usize,
    /// Numbers as JSON has them (`1.0` stays `1.0`), not as YAML has.
    json: bool,
    repeating: usize,
    repeated: usize,
    faults: Vec<(usize, Fault)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a Tree, json: bool, line: &'a dyn Fn(usize) -> usize) -> Self {
        Self {
            tree,
            line,
            json,
            repeating: 0,
            repeated: 0,
            faults: Vec::new(),
        }
    }

    /// The document's value, or all faults.
    pub(super) fn read(mut self) -> Result<Value, Vec<(usize, Fault)>> {
        let value = self
            .tree
            .root()
            .map_or(Value::Null, |root| self.value(root, 0));
        if self.faults.is_empty() {
            Ok(value)
        } else {
            Err(self.faults)
        }
    }

    fn value(&mut self, id: NodeId, depth: usize) -> Value {
        let node = self.tree.node(id);
        if depth > MAX_DEPTH {
            return self.fault(node.start, Fault::Depth);
        }
        if self.repeating > 0 {
            self.repeated += 1;
            if self.repeated > MAX_REPEATED {
                if self.repeated == MAX_REPEATED + 1 {
                    self.faults.push((node.start, Fault::Repeats));
                }
                return Value::Null;
            }
        }
        match &node.kind {
            Kind::Scalar { text, style } => {
                match scalar_value(text, *style, node.tag.as_deref(), self.json) {
                    Ok(value) => value,
                    Err(fault) => self.fault(node.start, fault),
                }
            }
            Kind::Alias(None) => self.fault(node.start, Fault::Cycle),
            Kind::Alias(Some(target)) => {
                self.repeating += 1;
                let value = self.value(*target, depth + 1);
                self.repeating -= 1;
                value
            }
            Kind::Sequence { items, .. } => items
                .iter()
                .map(|item| self.value(item.node, depth + 1))
                .collect(),
            Kind::Mapping { entries, .. } => Value::Object(self.mapping(entries, depth)),
        }
    }

    /// In the order of the text: an entry behind a `<<` wins over what it merged, and a `<<` over
    /// the entries before it, as in Kubernetes' reader.
    fn mapping(&mut self, entries: &[Entry], depth: usize) -> Map<String, Value> {
        let mut map = Map::new();
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(entries.len());
        for entry in entries {
            if is_merge(self.tree, entry) {
                self.merge(entry.value, &mut map, depth + 1);
                continue;
            }
            let Some(key) = key_name(self.tree, entry.key) else {
                self.faults.push((entry.start, Fault::Key));
                continue;
            };
            if let Some(first) = seen.get(&key) {
                let first = (self.line)(*first);
                self.faults.push((
                    entry.start,
                    Fault::Duplicate {
                        key: key.clone(),
                        first,
                    },
                ));
            }
            seen.insert(key.clone(), entry.start);
            let value = self.value(entry.value, depth + 1);
            map.insert(key, value);
        }
        map
    }

    fn merge(&mut self, id: NodeId, into: &mut Map<String, Value>, depth: usize) {
        let at = self.tree.node(id).start;
        match self.value(id, depth) {
            Value::Object(merged) => into.extend(merged),
            // Of several the first wins.
            Value::Array(all) if matches!(self.tree.node(id).kind, Kind::Sequence { .. }) => {
                for merged in all.into_iter().rev() {
                    match merged {
                        Value::Object(merged) => into.extend(merged),
                        _ => self.faults.push((at, Fault::Merge)),
                    }
                }
            }
            _ => self.faults.push((at, Fault::Merge)),
        }
    }

    fn fault(&mut self, at: usize, fault: Fault) -> Value {
        self.faults.push((at, fault));
        Value::Null
    }
}

/// Whether the entry is a `<<` that merges.
pub(super) fn is_merge(tree: &Tree, entry: &Entry) -> bool {
    let key = tree.node(entry.key);
    matches!(&key.kind, Kind::Scalar { text, style: Style::Plain } if text == "<<")
        && key.tag.as_deref().is_none_or(|tag| tag == "merge")
}

/// The key as JSON has it: numbers and booleans become strings. `None` for null and collections.
pub(super) fn key_name(tree: &Tree, id: NodeId) -> Option<String> {
    let node = tree.node(id);
    match &node.kind {
        Kind::Scalar { text, style } => {
            match scalar_value(text, *style, node.tag.as_deref(), false).ok()? {
                Value::String(text) => Some(text),
                value @ (Value::Bool(_) | Value::Number(_)) => Some(value.to_string()),
                _ => None,
            }
        }
        Kind::Alias(Some(target)) => match &tree.node(*target).kind {
            Kind::Scalar { .. } => key_name(tree, *target),
            _ => None,
        },
        _ => None,
    }
}

fn scalar_value(text: &str, style: Style, tag: Option<&str>, json: bool) -> Result<Value, Fault> {
    let plain = matches!(style, Style::Plain | Style::Empty);
    let mistyped = || Fault::Tag {
        tag: tag.unwrap_or_default().into(),
        text: text.into(),
    };
    match tag {
        None if !plain => Ok(Value::String(text.into())),
        None if json => {
            Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into())))
        }
        None => scalar::resolve(text).ok_or_else(|| Fault::NoJson(text.into())),
        Some("int" | "float" | "bool" | "null") => {
            let value = scalar::resolve(text).ok_or_else(|| Fault::NoJson(text.into()))?;
            let fits = match tag {
                Some("bool") => value.is_boolean(),
                Some("null") => value.is_null(),
                Some("int") => value.is_i64() || value.is_u64(),
                _ => value.is_number(),
            };
            if fits { Ok(value) } else { Err(mistyped()) }
        }
        Some("binary") => Err(mistyped()),
        // `!!str`, `!`, and tags that nobody knows: the text as it stands.
        Some(_) => Ok(Value::String(text.into())),
    }
}
