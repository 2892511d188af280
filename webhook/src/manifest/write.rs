//! From the plan of a document to replacements in its text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::edit::EditError;
use super::plan::{Plan, Planned, child};
use super::render::{Style, is_block, margin};
use super::scalar::Context;
use super::splice::TextEdit;
use super::text::{
    column, is_first_on_line, line_end, line_is_over, line_number, line_start, previous_line_end,
    skip_break, skip_trivia,
};
use super::tree::{Entry, Item, Kind, Node, NodeId, Style as ScalarStyle, Tree};

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

/// An element of a flow collection as it will be.
enum Element<'v> {
    Old(usize),
    New(Option<&'v str>, &'v Value),
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
                    self.remove_lines(&ranges, &|index| removed.contains(&index));
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
        self.remove_lines(&ranges, &|index| !stays[index]);
        self.insert_items(planned, items, &ranges, path)
    }

    /// New keys of a block mapping go behind its last one.
    fn append_entries(
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

    fn insert_items(
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
    fn remove_lines(&mut self, ranges: &[(usize, usize)], goes: &dyn Fn(usize) -> bool) {
        let mut index = 0;
        while index < ranges.len() {
            if !goes(index) {
                index += 1;
                continue;
            }
            let (start, end) = ranges[index];
            if is_first_on_line(self.text, start) {
                let to = line_end(self.text, end);
                match previous_line_end(self.text, line_start(self.text, start)) {
                    Some(from) => self.replace_range(from, to, String::new()),
                    None => {
                        let from = line_start(self.text, start);
                        self.replace_range(from, skip_break(self.text, to), String::new());
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

    /// Adds and takes out elements of a flow collection of which at least one stays.
    fn flow_collection(&mut self, ranges: &[(usize, usize)], elements: &[Element<'_>]) {
        let spread = ranges
            .first()
            .is_some_and(|(start, _)| is_first_on_line(self.text, *start));
        let mut stays = vec![false; ranges.len()];
        for element in elements {
            if let Element::Old(old) = element {
                stays[*old] = true;
            }
        }
        let last = stays.iter().rposition(|stays| *stays).unwrap_or_default();
        for index in (0..last).filter(|index| !stays[*index]) {
            self.replace_range(ranges[index].0, ranges[index + 1].0, String::new());
        }
        if last + 1 < ranges.len() {
            self.remove_tail(
                ranges[last].1,
                ranges[last + 1].0,
                ranges[ranges.len() - 1].1,
            );
        }
        let mut before: Option<usize> = None;
        let mut new: Vec<String> = Vec::new();
        for element in elements {
            match element {
                Element::New(key, value) => {
                    let margin = margin(self.text, ranges[0].0);
                    let text = if spread {
                        self.style.spread(value, margin)
                    } else {
                        self.style.inline(value, Context::Flow)
                    };
                    new.push(match key {
                        Some(key) => format!("{}{text}", self.flow_key(key, spread)),
                        None => text,
                    });
                }
                Element::Old(old) => {
                    if !new.is_empty() {
                        let between = self.between(spread, ranges[0].0);
                        let text = format!("{}{between}", new.join(&between));
                        self.insert(ranges[*old].0, text);
                        new.clear();
                    }
                    before = Some(*old);
                }
            }
        }
        if let (Some(before), false) = (before, new.is_empty()) {
            let between = self.between(spread, ranges[0].0);
            self.append_flow(ranges[before].1, spread, &between, &new);
        }
    }

    /// Behind the last element: a comma that is there already stays the last one, and a comment
    /// stays on the line that it is about.
    fn append_flow(&mut self, end: usize, spread: bool, between: &str, new: &[String]) {
        let comma = skip_trivia(self.text, end);
        let text = new.join(between);
        if self.text[comma..].starts_with(',') {
            let between = between.strip_prefix(',').unwrap_or(between);
            let at = comma + 1;
            let at = if spread && line_is_over(self.text, at) {
                line_end(self.text, at)
            } else {
                at
            };
            self.insert(at, format!("{between}{text},"));
        } else if spread && line_is_over(self.text, end) {
            let between = between.strip_prefix(',').unwrap_or(between);
            self.insert(end, ",".into());
            self.insert(line_end(self.text, end), format!("{between}{text}"));
        } else {
            self.insert(end, format!("{between}{text}"));
        }
    }

    /// The reverse: the elements from `start` to `end` go, of which the one before ended at `kept`.
    fn remove_tail(&mut self, kept: usize, start: usize, end: usize) {
        let comma = skip_trivia(self.text, kept);
        let trailing = skip_trivia(self.text, end);
        let trailing = self.text[trailing..]
            .starts_with(',')
            .then_some(trailing + 1);
        let own_line = is_first_on_line(self.text, start);
        let line = line_start(self.text, start);
        match (
            own_line
                .then(|| previous_line_end(self.text, line))
                .flatten(),
            trailing,
        ) {
            (Some(from), Some(to)) if from > comma => self.replace_range(from, to, String::new()),
            (Some(from), None) if from > comma => {
                self.replace_range(comma, comma + 1, String::new());
                self.replace_range(from, end, String::new());
            }
            (_, Some(to)) => self.replace_range(comma + 1, to, String::new()),
            (_, None) => self.replace_range(kept, end, String::new()),
        }
    }

    fn between(&self, spread: bool, first: usize) -> String {
        if spread {
            format!(",{}{}", self.style.line_break, margin(self.text, first))
        } else {
            self.style.separator()
        }
    }

    fn flow_key(&self, key: &str, spread: bool) -> String {
        let text = self.style.flow_key(key);
        // Over several lines everybody puts a blank behind the colon, unless the document has none.
        if spread && text.ends_with(':') {
            format!("{text} ")
        } else {
            text
        }
    }

    /// A value in the place of another.
    fn replace(
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
                    false => super::text::column(self.text, node.start),
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

    /// `[key: value]` has no braces to put anything into.
    fn require_braces(&self, id: NodeId, path: &Path) -> Result<(), EditError> {
        let at = self.tree.node(id).content;
        if self.text[at..].starts_with('{') {
            Ok(())
        } else {
            Err(self.notation(path, at, "as `[key: value]`", "as `[{key: value}]`"))
        }
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

    /// Of a block collection: with the comment behind its last line.
    fn end_with_comment(&self, node: &Node) -> usize {
        match node.kind {
            Kind::Mapping { flow: false, .. } | Kind::Sequence { flow: false, .. } => {
                line_end(self.text, node.end)
            }
            _ => node.end,
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
