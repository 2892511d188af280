//! Where in the text the nodes of a tree truly stand.
//!
//! One walk forward through the text finds what the parser does not report: between two nodes there
//! is nothing but blanks, comments and indicators. Apart from the building of the tree since that
//! sees events and never the text, and this the text and no events.

use super::block_scalar::extent;
use super::{Entry, Item, Kind, Misplaced, Node, NodeId, Style};
use crate::manifest::text::{column, skip_trivia};

/// Recursion is bounded by the nesting that the parser lets through.
pub(super) struct Placer<'a> {
    pub(super) nodes: &'a mut Vec<Node>,
    pub(super) text: &'a str,
    /// The column of the innermost block collection around the node.
    pub(super) parent: Option<usize>,
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

    /// Places a node of the block collection at the column `parent`.
    fn place_inside(
        &mut self,
        parent: Option<usize>,
        id: NodeId,
        from: usize,
    ) -> Result<usize, Misplaced> {
        let outside = std::mem::replace(&mut self.parent, parent);
        let end = self.place(id, from)?;
        self.parent = outside;
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
                let extent = extent(self.text, header, end, self.parent);
                if extent.break_added && value.ends_with('\n') {
                    value.pop();
                }
                style = Style::Block { open: extent.open };
                (header, extent.end)
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
            let parent = Some(column(self.text, item.start));
            at = self.place_inside(parent, item.node, item.start + 1)?;
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
            // In a flow collection nobody asks for it, and lines may be as long as the text.
            let parent = (!flow).then(|| column(self.text, entry.start));
            at = self.place_inside(parent, entry.key, key_from)?;
            let colon = skip_trivia(self.text, at);
            // The next key may begin with a colon: `? a` and then `:b: c`.
            let begins_key = !flow && !self.is_blank(colon + 1);
            if self.byte(colon) == Some(b':') && !begins_key {
                entry.colon = Some(colon + 1);
                at = colon + 1;
            } else if !flow && !entry.explicit {
                return Err(Misplaced { at: colon });
            }
            at = self.place_inside(parent, entry.value, at)?;
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
