//! From the plan of a document to replacements in its text.
//!
//! Here the plan is followed down the tree. How it comes to be in the text depends on the notation:
//! [`block`] and [`flow`] add to collections and take out of them, [`replace`] puts a value in the
//! place of another.

mod block;
mod flow;
mod replace;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::edit::EditError;
use super::plan::{Plan, Planned, child};
use super::render::Style;
use super::splice::TextEdit;
use super::text::{column, is_first_on_line, line_number};
use super::tree::{Entry, Item, Kind, NodeId, Tree};
use flow::Element;

/// Collects the replacements for one document.
pub(super) struct Writer<'a> {
    text: &'a str,
    tree: &'a Tree,
    style: &'a Style,
    /// How values were written once, by their pointer in this document.
    remembered: &'a BTreeMap<String, &'a str>,
    pub(super) edits: Vec<TextEdit>,
    /// How the replaced values were written, by their pointer in the new document.
    pub(super) replaced: Vec<(String, String)>,
    /// Something was written as it was once.
    pub(super) restored: bool,
    /// What is to blame, where the result is not the value that it should be.
    pub(super) join: Option<EditError>,
}

/// Where a node hangs.
#[derive(Clone, Copy)]
enum Slot {
    Root,
    /// Behind the colon of a block mapping's key, which is at `column`.
    Key {
        indicator: usize,
        column: usize,
    },
    /// Behind a key that is written with `?`.
    Explicit {
        at: usize,
    },
    /// Behind the dash of a block sequence, which is at `column`.
    Dash {
        indicator: usize,
        column: usize,
    },
    /// In a flow collection; `spread` over lines or not.
    Flow {
        indicator: Option<usize>,
        keyed: bool,
        spread: bool,
    },
}

/// The pointers of one node, before and after.
#[derive(Clone)]
struct Path {
    old: String,
    new: String,
}

impl Path {
    fn child(&self, old: &str, new: &str) -> Self {
        Self {
            old: child(&self.old, old),
            new: child(&self.new, new),
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        text: &'a str,
        tree: &'a Tree,
        style: &'a Style,
        remembered: &'a BTreeMap<String, &'a str>,
    ) -> Self {
        let (edits, replaced) = (Vec::new(), Vec::new());
        Self {
            text,
            tree,
            style,
            remembered,
            edits,
            replaced,
            restored: false,
            join: None,
        }
    }

    pub(super) fn document(&mut self, plan: &Plan) -> Result<(), EditError> {
        let path = Path {
            old: String::new(),
            new: String::new(),
        };
        match self.tree.root() {
            Some(root) => self.node(plan, root, Slot::Root, &path),
            None => Ok(()),
        }
    }

    fn node(&mut self, plan: &Plan, id: NodeId, slot: Slot, path: &Path) -> Result<(), EditError> {
        let tree = self.tree;
        match (plan, &tree.node(id).kind) {
            (Plan::Keep, _) => Ok(()),
            (Plan::Replace(value), _) => self.replace(id, value, slot, path),
            (
                Plan::Mapping {
                    removed,
                    changed,
                    added,
                },
                Kind::Mapping { flow, entries },
            ) => {
                if removed.is_empty() && changed.is_empty() && added.is_empty() {
                    return Ok(());
                }
                if removed.len() == entries.len() {
                    let map: Map<String, Value> = added.iter().cloned().collect();
                    return self.replace(id, &Value::Object(map), slot, path);
                }
                for (&index, plan) in changed {
                    if matches!(plan, Plan::Keep) {
                        continue;
                    }
                    let entry = &entries[index];
                    let key = super::value::key_name(tree, entry.key).unwrap_or_default();
                    let path = path.child(&key, &key);
                    let slot = self.entry_slot(id, entry, *flow, &path)?;
                    self.node(plan, entry.value, slot, &path)?;
                }
                for &index in removed {
                    self.refuse_shared(entries[index].value, path)?;
                }
                if *flow {
                    self.require_braces(id, path)?;
                    let ranges: Vec<_> = entries
                        .iter()
                        .map(|entry| (entry.start, self.entry_end(entry)))
                        .collect();
                    let kept = (0..entries.len()).filter(|index| !removed.contains(index));
                    let new = added
                        .iter()
                        .map(|(key, value)| Element::New(Some(key), value));
                    let elements: Vec<_> = kept.map(Element::Old).chain(new).collect();
                    self.flow_collection(&ranges, &elements);
                    Ok(())
                } else {
                    let ranges: Vec<_> = entries
                        .iter()
                        .map(|entry| (entry.start, self.entry_end(entry)))
                        .collect();
                    self.remove_lines(&ranges, &|index| removed.contains(&index), path);
                    self.append_entries(id, entries, added, path)
                }
            }
            (Plan::Sequence(planned), Kind::Sequence { flow, items }) => {
                self.sequence(planned, id, *flow, items, slot, path)
            }
            // Plans are made along the tree, so shapes agree.
            (Plan::Mapping { .. } | Plan::Sequence(_), _) => Err(EditError::Missing {
                pointer: path.old.clone(),
            }),
        }
    }

    fn sequence(
        &mut self,
        planned: &[Planned],
        id: NodeId,
        flow: bool,
        items: &[Item],
        slot: Slot,
        path: &Path,
    ) -> Result<(), EditError> {
        let kept = planned
            .iter()
            .filter(|item| matches!(item, Planned::Old(..)))
            .count();
        if kept == 0 {
            let values = planned.iter().filter_map(|item| match item {
                Planned::New(value) => Some(value.clone()),
                Planned::Old(..) => None,
            });
            let value = Value::Array(values.collect());
            // Nothing was there, and nothing comes.
            if items.is_empty() && value.as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            return self.replace(id, &value, slot, path);
        }
        let mut stays = vec![false; items.len()];
        let spread = flow
            && items
                .first()
                .is_some_and(|i| is_first_on_line(self.text, i.start));
        for (new, item) in planned.iter().enumerate() {
            let Planned::Old(old, plan) = item else {
                continue;
            };
            stays[*old] = true;
            let item = items[*old];
            let path = path.child(&old.to_string(), &new.to_string());
            let slot = if flow {
                Slot::Flow {
                    indicator: None,
                    keyed: false,
                    spread,
                }
            } else {
                Slot::Dash {
                    indicator: item.start + 1,
                    column: column(self.text, item.start),
                }
            };
            self.node(plan, item.node, slot, &path)?;
        }
        for (item, _) in items.iter().zip(&stays).filter(|(_, stays)| !**stays) {
            self.refuse_shared(item.node, path)?;
        }
        let ranges: Vec<_> = items
            .iter()
            .map(|item| (item.start, self.item_end(item, flow)))
            .collect();
        if flow {
            let elements: Vec<_> = planned
                .iter()
                .map(|item| match item {
                    Planned::Old(old, _) => Element::Old(*old),
                    Planned::New(value) => Element::New(None, value),
                })
                .collect();
            self.flow_collection(&ranges, &elements);
            return Ok(());
        }
        self.remove_lines(&ranges, &|index| !stays[index], path);
        self.insert_items(planned, items, &ranges, path)
    }

    fn entry_slot(
        &self,
        id: NodeId,
        entry: &Entry,
        flow: bool,
        path: &Path,
    ) -> Result<Slot, EditError> {
        if flow {
            self.require_braces(id, path)?;
            let spread = is_first_on_line(self.text, entry.start);
            return Ok(Slot::Flow {
                indicator: entry.colon,
                keyed: true,
                spread,
            });
        }
        Ok(match entry.colon {
            Some(indicator) if !entry.explicit => Slot::Key {
                indicator,
                column: column(self.text, entry.start),
            },
            _ => Slot::Explicit { at: entry.start },
        })
    }

    /// What goes must not hold an anchor that an alias elsewhere needs.
    fn refuse_shared(&self, id: NodeId, path: &Path) -> Result<(), EditError> {
        let end = self.tree.node(id).end;
        let inside = self.tree.nodes()[id..].iter().enumerate();
        let mut inside = inside.take_while(|(index, node)| *index == 0 || node.start < end);
        match inside.find(|(_, node)| node.shared) {
            Some((_, node)) => Err(EditError::Shared {
                pointer: path.old.clone(),
                line: line_number(self.text, node.start),
            }),
            None => Ok(()),
        }
    }

    fn entry_end(&self, entry: &Entry) -> usize {
        let key = self.tree.node(entry.key).end;
        self.tree
            .node(entry.value)
            .end
            .max(entry.colon.unwrap_or(key))
            .max(key)
    }

    fn item_end(&self, item: &Item, flow: bool) -> usize {
        self.tree
            .node(item.node)
            .end
            .max(item.start + usize::from(!flow))
    }

    fn remember(&mut self, path: &Path, start: usize, end: usize) {
        self.replaced
            .push((path.new.clone(), self.text[start..end].to_owned()));
    }

    fn notation(
        &self,
        path: &Path,
        at: usize,
        notation: &'static str,
        instead: &'static str,
    ) -> EditError {
        let line = line_number(self.text, at);
        EditError::Notation {
            pointer: path.old.clone(),
            line,
            notation,
            instead,
        }
    }

    fn insert(&mut self, at: usize, text: String) {
        self.replace_range(at, at, text);
    }

    fn replace_range(&mut self, start: usize, end: usize, text: String) {
        self.edits.push(TextEdit { start, end, text });
    }
}
