//! Adding to block collections and taking out of them.
//!
//! Apart from the flow notation since here lines are the unit: what comes and what goes are whole
//! lines, with their margins and the comments on them.

use serde_json::Value;

use super::{Path, Writer};
use crate::manifest::edit::EditError;
use crate::manifest::plan::Planned;
use crate::manifest::text::{
    column, is_first_on_line, line_end, line_is_over, line_start, previous_line_end, skip_break,
};
use crate::manifest::tree::{Entry, Item, Kind, NodeId, Style as ScalarStyle};

impl Writer<'_> {
    /// New keys of a block mapping go behind its last one.
    pub(super) fn append_entries(
        &mut self,
        id: NodeId,
        entries: &[Entry],
        added: &[(String, Value)],
        path: &Path,
    ) -> Result<(), EditError> {
        let (Some(first), false) = (entries.first(), added.is_empty()) else {
            return Ok(());
        };
        let indent = column(self.text, first.start);
        let lines: Vec<String> = added
            .iter()
            .flat_map(|(key, value)| self.style.entry_lines(key, value, indent))
            .collect();
        let end = self.tree.node(id).end;
        if self.is_open_at(end) {
            // A line break behind the last block scalar would become part of its value.
            let margin = " ".repeat(indent);
            let eol = self.style.line_break;
            let text = format!("{}{eol}{margin}", lines.join(eol));
            self.insert(first.start, text.trim_start_matches(' ').to_owned());
            return Ok(());
        }
        self.insert_lines(end, &lines, path)
    }

    pub(super) fn insert_items(
        &mut self,
        planned: &[Planned],
        items: &[Item],
        ranges: &[(usize, usize)],
        path: &Path,
    ) -> Result<(), EditError> {
        let indent = items
            .first()
            .map_or(0, |item| column(self.text, item.start));
        let mut before: Option<usize> = None;
        let mut lines: Vec<String> = Vec::new();
        for item in planned {
            match item {
                Planned::New(value) => lines.extend(self.style.item_lines(value, indent)),
                Planned::Old(old, _) => {
                    if !lines.is_empty() {
                        match before {
                            Some(before) => self.insert_lines(ranges[before].1, &lines, path)?,
                            None => {
                                let eol = self.style.line_break;
                                let text = lines.join(eol);
                                let text = format!(
                                    "{}{eol}{}",
                                    text.trim_start_matches(' '),
                                    " ".repeat(indent)
                                );
                                self.insert(items[*old].start, text);
                            }
                        }
                        lines.clear();
                    }
                    before = Some(*old);
                }
            }
        }
        match before {
            Some(before) if !lines.is_empty() => {
                let end = ranges[before].1;
                if self.is_open_at(end) {
                    return Err(self.notation(
                        path,
                        end,
                        "up to a last line without a line break",
                        "with one",
                    ));
                }
                self.insert_lines(end, &lines, path)
            }
            _ => Ok(()),
        }
    }

    /// Whole lines behind the line that ends a block node.
    fn insert_lines(&mut self, end: usize, lines: &[String], path: &Path) -> Result<(), EditError> {
        if !line_is_over(self.text, end) {
            return Err(self.notation(path, end, "on one line with its neighbour", "on its own"));
        }
        let eol = self.style.line_break;
        let text = lines
            .iter()
            .fold(String::new(), |text, line| text + eol + line);
        self.insert(line_end(self.text, end), text);
        Ok(())
    }

    /// Takes entries or items out of a block collection of which at least one stays.
    pub(super) fn remove_lines(
        &mut self,
        ranges: &[(usize, usize)],
        goes: &dyn Fn(usize) -> bool,
        path: &Path,
    ) {
        let mut index = 0;
        while index < ranges.len() {
            if !goes(index) {
                index += 1;
                continue;
            }
            let (start, end) = ranges[index];
            if is_first_on_line(self.text, start) {
                let to = line_end(self.text, end);
                let line = line_start(self.text, start);
                match previous_line_end(self.text, line) {
                    Some(from) if to == self.text.len() && self.needs_break_at(from) => {
                        self.replace_range(line, to, String::new());
                    }
                    Some(from) => {
                        self.replace_range(from, to, String::new());
                        self.note_join(from, to, path);
                    }
                    None => {
                        self.replace_range(line, skip_break(self.text, to), String::new());
                    }
                }
                index += 1;
            } else {
                // The first one, behind a dash: what stays moves up to it.
                let next = (index..ranges.len()).find(|&next| !goes(next));
                let next = next.unwrap_or(ranges.len());
                if let Some((to, _)) = ranges.get(next) {
                    self.replace_range(start, *to, String::new());
                }
                index = next;
            }
        }
    }

    /// Whether a block scalar ends at `end` whose value has the line break there: at the end of the
    /// text that break has to stay.
    fn needs_break_at(&self, end: usize) -> bool {
        self.tree.nodes().iter().any(|node| {
            let Kind::Scalar { text, style } = &node.kind else {
                return false;
            };
            node.end == end && matches!(style, ScalarStyle::Block { .. }) && text.ends_with('\n')
        })
    }

    /// Where lines go that stood between a block scalar and blank lines or a comment, it may take
    /// these in. Whether it does is seen when the result is read.
    fn note_join(&mut self, from: usize, to: usize, path: &Path) {
        let next = skip_break(self.text, to);
        if next == self.text.len() || !line_is_over(self.text, next) {
            return;
        }
        let below_scalar = self.tree.nodes().iter().any(|node| {
            let is_block = matches!(
                node.kind,
                Kind::Scalar {
                    style: ScalarStyle::Block { .. },
                    ..
                }
            );
            is_block && node.end <= from && self.text[node.end..from].trim().is_empty()
        });
        if below_scalar {
            self.join = Some(self.notation(
                path,
                next,
                "so that a block scalar would take in these lines, blank or a comment, where \
                 those above them go",
                "without them",
            ));
        }
    }

    /// Whether the text ends at `end` inside of a block scalar that keeps its last line break.
    fn is_open_at(&self, end: usize) -> bool {
        self.tree.nodes().last().is_some_and(|node| {
            node.end == end
                && matches!(
                    node.kind,
                    Kind::Scalar {
                        style: ScalarStyle::Block { open: true },
                        ..
                    }
                )
        })
    }
}
