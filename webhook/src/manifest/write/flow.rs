//! Adding to flow collections and taking out of them.
//!
//! Apart from the block notation since here commas are what must come out right: between elements,
//! behind the last one where one was there, on one line or spread over several.

use serde_json::Value;

use super::{Path, Writer};
use crate::manifest::edit::EditError;
use crate::manifest::render::margin;
use crate::manifest::scalar::Context;
use crate::manifest::text::{
    is_first_on_line, line_end, line_is_over, line_start, previous_line_end, skip_trivia,
};
use crate::manifest::tree::NodeId;

/// An element of a flow collection as it will be.
pub(super) enum Element<'v> {
    Old(usize),
    New(Option<&'v str>, &'v Value),
}

impl Writer<'_> {
    /// Adds and takes out elements of a flow collection of which at least one stays.
    pub(super) fn flow_collection(&mut self, ranges: &[(usize, usize)], elements: &[Element<'_>]) {
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
                }
            }
        }
        let kept = ranges[last].1;
        let between = self.between(spread, ranges[0].0);
        match (&ranges[last + 1..], new.is_empty()) {
            ([], true) => {}
            ([], false) => self.append_flow(kept, spread, &between, &new),
            ([first, ..], true) => self.remove_tail(kept, first.0, ranges[ranges.len() - 1].1),
            // The new ones between the commas of the old ones.
            ([first, ..], false) => {
                let end = ranges[ranges.len() - 1].1;
                self.replace_range(first.0, end, new.join(&between));
            }
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

    /// `[key: value]` has no braces to put anything into.
    pub(super) fn require_braces(&self, id: NodeId, path: &Path) -> Result<(), EditError> {
        let at = self.tree.node(id).content;
        if self.text[at..].starts_with('{') {
            Ok(())
        } else {
            Err(self.notation(path, at, "as `[key: value]`", "as `[{key: value}]`"))
        }
    }
}
