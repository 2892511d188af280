//! New values as text, in the style of the document that they go into.

use serde_json::{Map, Value};

use super::document::Format;
use super::scalar::{self, Context, Quotes};
use super::text::{column, is_first_on_line, line_break, line_start};
use super::tree::{Kind, Style as ScalarStyle, Tree};

/// How a document is laid out, as far as new text must match it.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// `\n` or `\r\n`.
    pub(super) line_break: &'static str,
    format: Format,
    /// Columns from a key to the keys below it.
    step: usize,
    /// Columns from a key to the dashes below it: 0 or `step`, as a rule.
    dash: usize,
    quotes: Quotes,
    /// Behind `:` and `,` in JSON on one line.
    space: &'static str,
    /// One step of indentation in flow collections and JSON over several lines.
    pub(super) unit: String,
}

impl Style {
    /// Looks at the whole document and takes what most of it does.
    pub(super) fn detect(text: &str, tree: &Tree, format: Format) -> Self {
        let mut steps = Counter::default();
        let mut dashes = Counter::default();
        let (mut single, mut double) = (0, 0);
        let mut spaced = None;
        let mut unit = None;
        for node in tree.nodes() {
            match &node.kind {
                Kind::Scalar {
                    style: ScalarStyle::Single,
                    ..
                } => single += 1,
                Kind::Scalar {
                    style: ScalarStyle::Double,
                    ..
                } => double += 1,
                Kind::Mapping {
                    flow: true,
                    entries,
                } => {
                    if let Some(entry) = entries.first() {
                        unit = unit.or_else(|| indentation(text, node.content, entry.start));
                    }
                    for colon in entries.iter().filter_map(|entry| entry.colon) {
                        spaced = spaced.or(Some(text[colon..].starts_with(' ')));
                    }
                }
                Kind::Sequence { flow: true, items } => {
                    if let Some(item) = items.first() {
                        unit = unit.or_else(|| indentation(text, node.content, item.start));
                    }
                }
                Kind::Mapping {
                    flow: false,
                    entries,
                } => {
                    for entry in entries.iter().filter(|entry| !entry.explicit) {
                        let value = tree.node(entry.value);
                        if !is_first_on_line(text, value.content) {
                            continue;
                        }
                        let by = |at| column(text, at).checked_sub(column(text, entry.start));
                        match &value.kind {
                            Kind::Mapping { flow: false, .. } => steps.add(by(value.content)),
                            Kind::Sequence { flow: false, .. } => dashes.add(by(value.content)),
                            _ => {}
                        }
                    }
                }
                Kind::Sequence { flow: false, .. } | Kind::Scalar { .. } | Kind::Alias(_) => {}
            }
        }
        let step = steps.most().unwrap_or(2).clamp(1, 16);
        Self {
            line_break: line_break(text),
            format,
            step,
            dash: dashes.most().unwrap_or(0).min(16),
            quotes: if single > double {
                Quotes::Single
            } else {
                Quotes::Double
            },
            space: if spaced.unwrap_or(format == Format::Yaml) {
                " "
            } else {
                ""
            },
            unit: unit.unwrap_or_else(|| " ".repeat(step)),
        }
    }

    /// A value on one line: a scalar, or a collection in flow style.
    pub(super) fn inline(&self, value: &Value, context: Context) -> String {
        let mut out = String::new();
        self.write_inline(value, context, &mut out);
        out
    }

    /// A key with its colon and what goes between it and an inline value.
    pub(super) fn flow_key(&self, key: &str) -> String {
        match self.format {
            Format::Json => format!("{}:{}", Value::from(key), self.space),
            Format::Yaml => {
                format!(
                    "{}: ",
                    scalar::write_string(key, Context::Flow, self.quotes)
                )
            }
        }
    }

    /// What stands between two items on one line.
    pub(super) fn separator(&self) -> String {
        format!(",{}", self.space)
    }

    /// A value in flow style over several lines, its closing bracket indented by `margin`.
    pub(super) fn spread(&self, value: &Value, margin: &str) -> String {
        let inner = format!("{margin}{}", self.unit);
        let lines: Vec<String> = match value {
            Value::Object(map) if !map.is_empty() => ordered(map)
                .map(|(key, value)| {
                    let key = match self.format {
                        Format::Json => format!("{}: ", Value::from(key)),
                        Format::Yaml => self.flow_key(key),
                    };
                    format!("{inner}{key}{}", self.spread(value, &inner))
                })
                .collect(),
            Value::Array(items) if !items.is_empty() => items
                .iter()
                .map(|item| format!("{inner}{}", self.spread(item, &inner)))
                .collect(),
            value => return self.inline(value, Context::Flow),
        };
        let (open, close) = if value.is_object() {
            ('{', '}')
        } else {
            ('[', ']')
        };
        let eol = self.line_break;
        format!(
            "{open}{eol}{}{eol}{margin}{close}",
            lines.join(&format!(",{eol}"))
        )
    }

    /// The lines of one entry of a block mapping, its key at column `indent`.
    pub(super) fn entry_lines(&self, key: &str, value: &Value, indent: usize) -> Vec<String> {
        let key = scalar::write_string(key, Context::Block, self.quotes);
        let margin = " ".repeat(indent);
        match value {
            Value::Object(map) if !map.is_empty() => {
                let mut lines = vec![format!("{margin}{key}:")];
                lines.extend(self.block_lines(value, indent + self.step));
                lines
            }
            Value::Array(items) if !items.is_empty() => {
                let mut lines = vec![format!("{margin}{key}:")];
                lines.extend(self.block_lines(value, indent + self.dash));
                lines
            }
            value => vec![format!(
                "{margin}{key}: {}",
                self.inline(value, Context::Block)
            )],
        }
    }

    /// The lines of one item of a block sequence, its dash at column `indent`.
    pub(super) fn item_lines(&self, item: &Value, indent: usize) -> Vec<String> {
        let margin = " ".repeat(indent);
        if !is_block(item) {
            return vec![format!("{margin}- {}", self.inline(item, Context::Block))];
        }
        let mut lines = self.block_lines(item, indent + 2);
        if let Some(first) = lines.first_mut() {
            *first = format!("{margin}- {}", first.trim_start_matches(' '));
        }
        lines
    }

    /// The lines of a collection that is not empty, its keys or dashes at column `indent`.
    pub(super) fn block_lines(&self, value: &Value, indent: usize) -> Vec<String> {
        match value {
            Value::Object(map) => ordered(map)
                .flat_map(|(key, value)| self.entry_lines(key, value, indent))
                .collect(),
            Value::Array(items) => items
                .iter()
                .flat_map(|item| self.item_lines(item, indent))
                .collect(),
            value => vec![format!(
                "{}{}",
                " ".repeat(indent),
                self.inline(value, Context::Block)
            )],
        }
    }

    /// The column for the content of a collection under a key at column `key`.
    pub(super) fn below(&self, key: usize, value: &Value) -> usize {
        key + if value.is_array() {
            self.dash
        } else {
            self.step
        }
    }

    fn write_inline(&self, value: &Value, context: Context, out: &mut String) {
        let separator = self.separator();
        match value {
            Value::Object(map) => {
                out.push('{');
                for (index, (key, value)) in ordered(map).enumerate() {
                    if index > 0 {
                        out.push_str(&separator);
                    }
                    out.push_str(&self.flow_key(key));
                    self.write_inline(value, Context::Flow, out);
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&separator);
                    }
                    self.write_inline(item, Context::Flow, out);
                }
                out.push(']');
            }
            value => match self.format {
                Format::Json => out.push_str(&value.to_string()),
                Format::Yaml => out.push_str(&scalar::write(value, context, self.quotes)),
            },
        }
    }
}

/// Whether a value is written over several lines in block style.
pub(super) fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// `name` first, as everybody writes containers, ports and variables; the others as they come.
fn ordered(map: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let name = map.get_key_value("name");
    let rest = map.iter().filter(|(key, _)| *key != "name");
    name.into_iter()
        .chain(rest)
        .map(|(key, value)| (key.as_str(), value))
}

/// What a first item on a line of its own is indented by, against the line of its bracket.
fn indentation(text: &str, bracket: usize, item: usize) -> Option<String> {
    if !is_first_on_line(text, item) || line_start(text, item) <= bracket {
        return None;
    }
    let outer = margin(text, bracket);
    let inner = &text[line_start(text, item)..item];
    inner
        .strip_prefix(outer)
        .filter(|unit| !unit.is_empty())
        .map(str::to_owned)
}

/// The blanks that the line of `at` begins with.
pub(super) fn margin(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..at];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Which number of columns occurs most often.
#[derive(Default)]
struct Counter([usize; 17]);

impl Counter {
    fn add(&mut self, columns: Option<usize>) {
        if let Some(count) = columns.and_then(|columns| self.0.get_mut(columns)) {
            *count += 1;
        }
    }

    fn most(&self) -> Option<usize> {
        let (columns, count) = self.0.iter().enumerate().max_by_key(|(_, count)| **count)?;
        (*count > 0).then_some(columns)
    }
}
