//! The tree of one document: what each node is, and where in the text it stands.
//!
//! The parser reports events with byte ranges, but not the indicators between them (`-`, `:`, `?`,
//! `,`), nor where a block collection ends. So the tree is built from the events first, and then
//! [`place`] finds the rest in the text.

mod block_scalar;
mod place;

use std::collections::HashMap;

use granit_parser::{Event, ScalarStyle, Span, StructureStyle};

use place::Placer;

/// Index of a node in its [`Tree`].
pub(super) type NodeId = usize;

/// One document's nodes. Byte offsets are into the whole text.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    root: Option<NodeId>,
}

/// One node with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where its tag or anchor begins, else where its content does.
    pub(super) start: usize,
    /// Where its content begins. Of a block scalar: the `|` or `>`.
    pub(super) content: usize,
    /// Where it ends, without trailing blanks, comments and line breaks.
    pub(super) end: usize,
    pub(super) kind: Kind,
    /// The tag without its handle (`str`, `int`, ...), where one is written.
    pub(super) tag: Option<String>,
    /// An alias elsewhere in the document repeats this node.
    pub(super) shared: bool,
    /// Its anchor or tag ends here.
    properties: Option<(usize, usize)>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar {
        text: String,
        style: Style,
    },
    Sequence {
        flow: bool,
        items: Vec<Item>,
    },
    Mapping {
        flow: bool,
        entries: Vec<Entry>,
    },
    /// The node that it repeats; `None` where that node contains the alias itself.
    Alias(Option<NodeId>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Nothing at all is written: null.
    Empty,
    Plain,
    Single,
    Double,
    /// `|` or `>`. `open`: the text ends inside of it without a line break.
    Block {
        open: bool,
    },
}

/// One item of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// The `-` of block style; in flow style where the item begins.
    pub(super) start: usize,
    pub(super) node: NodeId,
}

/// One key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the key (or its `?`) begins.
    pub(super) start: usize,
    pub(super) key: NodeId,
    /// Right behind the `:`, where there is one.
    pub(super) colon: Option<usize>,
    pub(super) value: NodeId,
    /// Written with `?`.
    pub(super) explicit: bool,
}

/// The walk through the text did not find what the events promise. A fault of ours, reported so
/// that the document is refused and not edited at the wrong place.
#[derive(Debug)]
pub(super) struct Misplaced {
    /// Byte offset.
    pub(super) at: usize,
}

impl Tree {
    pub(super) fn root(&self) -> Option<NodeId> {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Finds the indicators and the true ends. `from`: where the document's content may begin.
    pub(super) fn place(&mut self, text: &str, from: usize) -> Result<(), Misplaced> {
        if let Some(root) = self.root {
            Placer {
                nodes: &mut self.nodes,
                text,
                parent: None,
            }
            .place(root, from)?;
        }
        Ok(())
    }
}

/// Builds a tree from the events of one document.
#[derive(Default)]
pub(super) struct Builder {
    tree: Tree,
    /// Collections that are still open. A mapping also holds the key that waits for its value.
    open: Vec<(NodeId, Option<NodeId>)>,
    /// Anchor number to node. An anchor inside of its own node is not in it yet.
    anchors: HashMap<usize, NodeId>,
    pending: HashMap<NodeId, usize>,
}

impl Builder {
    /// Takes the next event between the document's start and end. `base`: where the parsed text
    /// begins in the whole text.
    pub(super) fn event(&mut self, event: Event<'_>, span: &Span, base: usize) {
        let range = span.byte_range().unwrap_or_default();
        let (start, end) = (range.start + base, range.end + base);
        let tagged = span.tag_span().and_then(|span| span.byte_range());
        let tagged = tagged.map(|range| (range.start + base, range.end + base));
        match event {
            Event::Scalar(value, style, anchor, tag) => {
                let style = match style {
                    ScalarStyle::Plain if start == end => Style::Empty,
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::Single,
                    ScalarStyle::DoubleQuoted => Style::Double,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block { open: false },
                };
                let text = if style == Style::Empty {
                    String::new()
                } else {
                    value.into_owned()
                };
                let tag = tag.map(|tag| tag.suffix().to_string());
                let id = self.push(start, end, Kind::Scalar { text, style }, tag, tagged);
                self.attach(id);
                if anchor != 0 {
                    self.anchors.insert(anchor, id);
                }
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                if let Some(target) = target {
                    self.tree.nodes[target].shared = true;
                }
                let id = self.push(start, end, Kind::Alias(target), None, None);
                self.attach(id);
            }
            Event::SequenceStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let kind = Kind::Sequence {
                    flow,
                    items: Vec::new(),
                };
                self.open(
                    start,
                    end,
                    kind,
                    anchor,
                    tag.map(|t| t.suffix().to_string()),
                    tagged,
                );
            }
            Event::MappingStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let kind = Kind::Mapping {
                    flow,
                    entries: Vec::new(),
                };
                self.open(
                    start,
                    end,
                    kind,
                    anchor,
                    tag.map(|t| t.suffix().to_string()),
                    tagged,
                );
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((id, _)) = self.open.pop() {
                    self.tree.nodes[id].end = end;
                    if let Some(anchor) = self.pending.remove(&id) {
                        self.anchors.insert(anchor, id);
                    }
                    self.attach(id);
                }
            }
            Event::Anchor(..) => {
                // The event follows the node that it names at once.
                if let Some(node) = self.tree.nodes.last_mut() {
                    node.properties = join(node.properties, Some((start, end)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Tree {
        self.tree
    }

    fn push(
        &mut self,
        start: usize,
        end: usize,
        kind: Kind,
        tag: Option<String>,
        properties: Option<(usize, usize)>,
    ) -> NodeId {
        let node = Node {
            start,
            content: start,
            end,
            kind,
            tag,
            shared: false,
            properties,
        };
        self.tree.nodes.push(node);
        self.tree.nodes.len() - 1
    }

    fn open(
        &mut self,
        start: usize,
        end: usize,
        kind: Kind,
        anchor: usize,
        tag: Option<String>,
        properties: Option<(usize, usize)>,
    ) {
        let id = self.push(start, end, kind, tag, properties);
        if anchor != 0 {
            self.pending.insert(id, anchor);
        }
        self.open.push((id, None));
    }

    /// Hands a finished node to the collection that holds it.
    fn attach(&mut self, id: NodeId) {
        let Some((parent, waiting)) = self.open.last_mut() else {
            self.tree.root = Some(id);
            return;
        };
        match &mut self.tree.nodes[*parent].kind {
            Kind::Sequence { items, .. } => items.push(Item { start: 0, node: id }),
            Kind::Mapping { entries, .. } => match waiting.take() {
                None => *waiting = Some(id),
                Some(key) => {
                    entries.push(Entry {
                        start: 0,
                        key,
                        colon: None,
                        value: id,
                        explicit: false,
                    });
                }
            },
            Kind::Scalar { .. } | Kind::Alias(_) => {}
        }
    }
}

fn join(a: Option<(usize, usize)>, b: Option<(usize, usize)>) -> Option<(usize, usize)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}
