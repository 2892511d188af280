//! Where in the text the nodes of a tree truly stand.
//!
//! One walk forward through the text finds what the parser does not report: between two nodes there
//! is nothing but blanks, comments and indicators. Apart from the building of the tree since that
//! sees events and never the text, and this the text and no events.

use super::{Entry, Item, Kind, Misplaced, Node, NodeId, Style};
use crate::manifest::text::{line_end, skip_trivia};

/// Recursion is bounded by the nesting that the parser lets through.
pub(super) struct Placer<'a> {
    pub(super) nodes: &'a mut Vec<Node>,
    pub(super) text: &'a str,
}

impl Placer<'_> {
    /// Places the node whose indicator ended at `from`; gives its end.
    pub(super) fn place(&mut self, id: NodeId, from: usize) -> Result<usize, Misplaced> {
        let after = self.nodes[id]
            .properties
            .map_or(from, |(_, end)| end.max(from));
        let kind = std::mem::replace(&mut self.nodes[id].kind, Kind::Alias(None));
        let (content, end, kind) = match kind {
            Kind::Scalar { text, style } => self.place_scalar(id, after, text, style)?,
            Kind::Alias(target) => (
                self.nodes[id].content,
                self.nodes[id].end,
                Kind::Alias(target),
            ),
            Kind::Sequence { flow, mut items } => {
                let (content, end) = self.place_items(id, flow, &mut items, after)?;
                (content, end, Kind::Sequence { flow, items })
            }
            Kind::Mapping { flow, mut entries } => {
                let (content, end) = self.place_entries(id, flow, &mut entries, after)?;
                (content, end, Kind::Mapping { flow, entries })
            }
        };
        let node = &mut self.nodes[id];
        (node.content, node.end, node.kind) = (content, end, kind);
        node.start = node
            .properties
            .map_or(content, |(start, _)| start.min(content));
        Ok(end)
    }

    fn place_scalar(
        &mut self,
        id: NodeId,
        after: usize,
        mut value: String,
        mut style: Style,
    ) -> Result<(usize, usize, Kind), Misplaced> {
        let (start, end) = (self.nodes[id].content, self.nodes[id].end);
        let (content, end) = match style {
            Style::Empty => (after, after),
            Style::Plain | Style::Single | Style::Double => (start, end),
            Style::Block { .. } => {
                let header = self.expect(after, b"|>")?;
                let (end, open) = block_scalar_end(self.text, header, end);
                // Go's reader adds no line break that the text does not have.
                if open && value.ends_with('\n') {
                    value.pop();
                }
                style = Style::Block { open };
                (header, end)
            }
        };
        Ok((content, end, Kind::Scalar { text: value, style }))
    }

    fn place_items(
        &mut self,
        id: NodeId,
        flow: bool,
        items: &mut [Item],
        after: usize,
    ) -> Result<(usize, usize), Misplaced> {
        if flow {
            let open = self.expect(after, b"[")?;
            let mut at = open + 1;
            for item in items {
                item.start = self.skip_comma(at);
                at = self.place(item.node, item.start)?;
            }
            let close = self.skip_comma(at);
            self.expect(close, b"]")?;
            return Ok((open, close + 1));
        }
        let mut at = after;
        for item in items.iter_mut() {
            item.start = self.expect(at, b"-")?;
            at = self.place(item.node, item.start + 1)?;
        }
        Ok((
            items
                .first()
                .map_or(self.nodes[id].content, |item| item.start),
            at,
        ))
    }

    fn place_entries(
        &mut self,
        id: NodeId,
        flow: bool,
        entries: &mut [Entry],
        after: usize,
    ) -> Result<(usize, usize), Misplaced> {
        let mut open = skip_trivia(self.text, after);
        // `[key: value]` is a mapping without braces.
        let braces = flow && self.byte(open) == Some(b'{') && self.nodes[id].content == open;
        let mut at = if braces { open + 1 } else { after };
        for entry in entries.iter_mut() {
            entry.start = if braces {
                self.skip_comma(at)
            } else {
                skip_trivia(self.text, at)
            };
            entry.explicit = self.byte(entry.start) == Some(b'?') && self.is_blank(entry.start + 1);
            let key_from = entry.start + usize::from(entry.explicit);
            at = self.place(entry.key, key_from)?;
            let colon = skip_trivia(self.text, at);
            // The next key may begin with a colon: `? a` and then `:b: c`.
            let begins_key = !flow && !self.is_blank(colon + 1);
            if self.byte(colon) == Some(b':') && !begins_key {
                entry.colon = Some(colon + 1);
                at = colon + 1;
            } else if !flow && !entry.explicit {
                return Err(Misplaced { at: colon });
            }
            at = self.place(entry.value, at)?;
        }
        if braces {
            let close = self.skip_comma(at);
            self.expect(close, b"}")?;
            return Ok((open, close + 1));
        }
        if let Some(first) = entries.first() {
            open = first.start;
        }
        Ok((open, at))
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// Whether a blank or a line's end stands there, or the text ends.
    fn is_blank(&self, at: usize) -> bool {
        self.byte(at).is_none_or(|byte| b" \t\r\n".contains(&byte))
    }

    /// The next indicator, which must be one of `any`.
    fn expect(&self, from: usize, any: &[u8]) -> Result<usize, Misplaced> {
        let at = skip_trivia(self.text, from);
        match self.byte(at) {
            Some(byte) if any.contains(&byte) => Ok(at),
            _ => Err(Misplaced { at }),
        }
    }

    fn skip_comma(&self, from: usize) -> usize {
        let at = skip_trivia(self.text, from);
        if self.byte(at) == Some(b',') {
            skip_trivia(self.text, at + 1)
        } else {
            at
        }
    }
}

/// Where the last line of a block scalar is that belongs to its value: one with something to read, or
/// with blanks beyond the indentation. How deep that is where the header says it is not known here;
/// then blanks count in any case, since to count too many of them changes nothing.
fn last_content(body: &str, is_explicit: bool) -> Option<usize> {
    let mut indentation = None;
    let mut last = None;
    let mut from = 0;
    for line in body.split_inclusive(['\n', '\r']) {
        let text = line.trim_end_matches(['\n', '\r']);
        let blanks = text.len() - text.trim_start_matches([' ', '\t']).len();
        if blanks < text.len() {
            indentation.get_or_insert(blanks);
            last = Some(from);
        } else if indentation.is_some_and(|depth| blanks > if is_explicit { 0 } else { depth }) {
            last = Some(from);
        }
        from += line.len();
    }
    last
}

/// Where a block scalar's lines end, and whether the text ends inside of the last one. The
/// parser's range runs on over blank lines, which belong to the value under `+` alone.
fn block_scalar_end(text: &str, header: usize, end: usize) -> (usize, bool) {
    let header_end = line_end(text, header);
    let indicator = text[header..header_end]
        .split([' ', '\t', '#'])
        .next()
        .unwrap_or_default();
    let body = text
        .get(header_end..end.max(header_end))
        .unwrap_or_default();
    let used = if indicator.contains('+') {
        body.rfind(['\n', '\r']).map(|at| {
            let tail = &body[at + 1..];
            if tail.trim_start_matches(' ').is_empty() {
                if body[..at].ends_with('\r') && body[at..].starts_with('\n') {
                    at - 1
                } else {
                    at
                }
            } else {
                body.len()
            }
        })
    } else {
        let is_explicit = indicator.contains(|c: char| c.is_ascii_digit());
        // The parser's range may run into the indentation of what follows.
        let lines = if end < text.len() {
            body.trim_end_matches([' ', '\t'])
        } else {
            body
        };
        last_content(lines, is_explicit).map(|at| line_end(text, header_end + at) - header_end)
    };
    let end = header_end + used.unwrap_or_default();
    let open = used.is_some() && !indicator.contains('-') && line_end(text, end) == text.len();
    (end, open)
}
