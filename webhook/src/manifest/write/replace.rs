//! A value in the place of another.
//!
//! Apart from collections since it depends on where the value hangs and on nothing else around it.
//! How the old value was written is remembered here, and written again where it comes back.

use serde_json::Value;

use super::{Path, Slot, Writer};
use crate::manifest::edit::EditError;
use crate::manifest::render::{is_block, margin};
use crate::manifest::scalar::Context;
use crate::manifest::text::{line_end, line_number};
use crate::manifest::tree::{Kind, Node, NodeId, Style as ScalarStyle};

impl Writer<'_> {
    /// A value in the place of another.
    pub(super) fn replace(
        &mut self,
        id: NodeId,
        value: &Value,
        slot: Slot,
        path: &Path,
    ) -> Result<(), EditError> {
        let node = self.tree.node(id);
        if let Kind::Alias(_) = node.kind {
            let line = line_number(self.text, node.start);
            return Err(EditError::Alias {
                pointer: path.old.clone(),
                line,
            });
        }
        self.refuse_shared(id, path)?;
        let remembered = self.remembered.get(&path.old).copied();
        self.restored |= remembered.is_some();
        match slot {
            Slot::Key { indicator, column } => {
                self.replace_behind_key(node, value, indicator, column, remembered, path);
            }
            Slot::Dash { indicator, column } => {
                let end = self.end_with_comment(node);
                let comment = line_end(self.text, end) > end;
                let indent = match node.start == indicator {
                    true => column + 2,
                    false => crate::manifest::text::column(self.text, node.start),
                };
                // What follows on the line would end up behind the new value's last one.
                let text = if is_block(value) && !comment {
                    let lines = self.style.block_lines(value, indent);
                    lines
                        .join(self.style.line_break)
                        .trim_start_matches(' ')
                        .to_owned()
                } else {
                    self.style.inline(value, Context::Block)
                };
                self.replace_after(indicator, node.start, end, text, remembered, path);
            }
            Slot::Flow {
                indicator,
                keyed,
                spread,
            } => {
                let text = if spread {
                    self.style.spread(value, margin(self.text, node.start))
                } else {
                    self.style.inline(value, Context::Flow)
                };
                match indicator {
                    Some(indicator) => {
                        let (start, end) = (node.start, node.end);
                        self.replace_after(indicator, start, end, text, remembered, path);
                    }
                    // `{key}` has no colon yet.
                    None if keyed => self.replace_range(node.start, node.end, format!(": {text}")),
                    None => {
                        self.remember(path, node.start, node.end);
                        let text = remembered.map_or(text, str::to_owned);
                        self.replace_range(node.start, node.end, text);
                    }
                }
            }
            Slot::Explicit { at } => {
                return Err(self.notation(path, at, "with `? key`", "as `key: value`"));
            }
            Slot::Root => {
                self.remember(path, node.start, node.end);
                let spread = self.text[node.start..node.end].contains('\n');
                let text = match remembered {
                    Some(text) => text.to_owned(),
                    None if spread => self.style.spread(value, ""),
                    None => self.style.inline(value, Context::Flow),
                };
                self.replace_range(node.start, node.end, text);
            }
        }
        Ok(())
    }

    /// Behind an indicator on the same line. The blanks between both stay, and are remembered.
    fn replace_after(
        &mut self,
        indicator: usize,
        start: usize,
        end: usize,
        text: String,
        remembered: Option<&str>,
        path: &Path,
    ) {
        self.remember(path, indicator, end);
        match remembered {
            Some(text) => self.replace_range(indicator, end, text.to_owned()),
            None if start == indicator => self.replace_range(start, end, format!(" {text}")),
            None => self.replace_range(start, end, text),
        }
    }

    /// Behind `key:` a value stands on the key's line or on the lines below it, and one may give
    /// way to the other. What is remembered begins with a line break where it stood below.
    fn replace_behind_key(
        &mut self,
        node: &Node,
        value: &Value,
        indicator: usize,
        column: usize,
        remembered: Option<&str>,
        path: &Path,
    ) {
        let key_line_end = line_end(self.text, indicator);
        let lines = is_block_node(node);
        let below = node.start > key_line_end;
        // From where to where the old value goes.
        let (from, to) = match (below, lines) {
            (true, true) => (key_line_end, self.end_with_comment(node)),
            (true, false) => (key_line_end, node.end),
            (false, true) => (indicator, self.end_with_comment(node)),
            (false, false) => (indicator, node.end),
        };
        self.remember(path, from, to);
        let block = match remembered {
            Some(text) => text.starts_with(['\n', '\r']),
            None => is_block(value),
        };
        let text = match remembered {
            Some(text) => text.to_owned(),
            None if block => {
                let indent = self.style.below(column, value);
                let lines = self.style.block_lines(value, indent);
                lines.iter().fold(String::new(), |text, line| {
                    text + self.style.line_break + line
                })
            }
            None => format!(" {}", self.style.inline(value, Context::Block)),
        };
        match (block, below || lines) {
            // One scalar for another: what stands before it stays.
            (false, _) if !lines && remembered.is_none() && node.start > indicator => {
                self.replace_range(
                    node.start,
                    node.end,
                    text.trim_start_matches(' ').to_owned(),
                );
            }
            (false, _) if from == indicator => self.replace_range(from, to, text),
            (false, _) => {
                self.insert(indicator, text);
                self.replace_range(from, to, String::new());
            }
            (true, true) => self.replace_range(from, to, text),
            (true, false) => {
                // A comment behind the old value stays on the key's line.
                self.replace_range(from, to, String::new());
                self.insert(line_end(self.text, to), text);
            }
        }
    }

    /// Of a block collection: with the comment behind its last line.
    fn end_with_comment(&self, node: &Node) -> usize {
        match node.kind {
            Kind::Mapping { flow: false, .. } | Kind::Sequence { flow: false, .. } => {
                line_end(self.text, node.end)
            }
            _ => node.end,
        }
    }
}

/// Whether the node fills whole lines.
fn is_block_node(node: &Node) -> bool {
    matches!(
        node.kind,
        Kind::Mapping { flow: false, .. }
            | Kind::Sequence { flow: false, .. }
            | Kind::Scalar {
                style: ScalarStyle::Block { .. },
                ..
            }
    )
}
