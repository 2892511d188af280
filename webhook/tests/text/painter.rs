//! Writes a value as YAML or JSON in one of the many ways that people do.

use serde_json::{Map, Value};

/// Draws each choice of style from a list of bytes, so that proptest can shrink it.
pub(crate) struct Painter<'a> {
    choices: &'a [u8],
    at: usize,
    eol: &'static str,
    step: usize,
    dash: usize,
    out: String,
    /// A comment that is indented deeply would be part of the block scalar above it.
    literal: bool,
    /// The line breaks that its value ends with: two, and a blank line would be one more.
    breaks: usize,
}

/// A document in YAML.
pub(crate) fn yaml(value: &Value, choices: &[u8]) -> String {
    let mut painter = Painter::new(choices);
    if painter.choose(8) == 0 {
        painter.out.push('\u{feff}');
    }
    match painter.choose(6) {
        0 => painter.line("# Copyright the authors"),
        1 => painter.line("---"),
        2 => painter.line("--- # one"),
        3 => {
            painter.line("%YAML 1.1");
            painter.line("---");
        }
        _ => {}
    }
    match value {
        Value::Object(map) if !map.is_empty() => painter.block_map(map, 0, true),
        value => {
            let text = painter.flow(value);
            painter.line(&text);
        }
    }
    match painter.choose(8) {
        0 => painter.line("..."),
        1 => painter.line("# the end"),
        2 if painter.breaks < 2 => painter.line(""),
        3 | 4 if painter.breaks == 0 => {
            let without = painter.out.trim_end_matches(painter.eol).len();
            painter.out.truncate(without);
        }
        _ => {}
    }
    painter.out
}

/// A value in YAML on one line.
pub(crate) fn flow(value: &Value, choices: &[u8]) -> String {
    Painter::new(choices).flow(value)
}

/// A document in JSON.
pub(crate) fn json(value: &Value, choices: &[u8]) -> String {
    let mut painter = Painter::new(choices);
    let mut text = match painter.choose(5) {
        0 => value.to_string(),
        1 => serde_json::to_string_pretty(value).unwrap(),
        2 => value.to_string().replace("\",\"", "\", \""),
        n => {
            let indent: &[u8] = if n == 3 { b"\t" } else { b"    " };
            let mut out = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            serde::Serialize::serialize(value, &mut serializer).unwrap();
            String::from_utf8(out).unwrap()
        }
    };
    if painter.choose(2) == 0 {
        text.push('\n');
    }
    text
}

impl<'a> Painter<'a> {
    fn new(choices: &'a [u8]) -> Self {
        let mut painter = Self {
            choices,
            at: 0,
            eol: "\n",
            step: 2,
            dash: 0,
            out: String::new(),
            literal: false,
            breaks: 0,
        };
        painter.eol = if painter.choose(5) == 0 { "\r\n" } else { "\n" };
        painter.step = [2, 2, 4, 3, 1][painter.choose(5)];
        painter.dash = [0, painter.step, 2][painter.choose(3)];
        painter
    }

    fn choose(&mut self, among: usize) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or(255);
        self.at += 1;
        usize::from(choice) % among
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push_str(self.eol);
    }

    /// Blank lines and comments between entries.
    fn interlude(&mut self, indent: usize) {
        let margin = " ".repeat(indent);
        match self.choose(12) {
            0 if self.breaks < 2 => self.line(""),
            1 => self.line(&format!("{margin}# about: what follows")),
            2 => self.line("# at the margin"),
            3 if !self.literal => self.line(&format!("{margin}  # - deeper: x")),
            _ => {}
        }
        (self.literal, self.breaks) = (false, 0);
    }

    fn remark(&mut self) -> &'static str {
        match self.choose(10) {
            0 => " # why",
            1 => "   # {a: b}, [c]",
            2 => "  ",
            _ => "",
        }
    }

    fn block_map(&mut self, map: &Map<String, Value>, indent: usize, first_is_indented: bool) {
        for (index, (key, value)) in map.iter().enumerate() {
            if index > 0 || first_is_indented {
                self.interlude(indent);
                self.out.push_str(&" ".repeat(indent));
            }
            let key = self.key(key);
            self.out.push_str(&key);
            self.out.push(':');
            self.value(value, indent);
        }
    }

    fn block_seq(&mut self, items: &[Value], indent: usize, first_is_indented: bool) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 || first_is_indented {
                self.interlude(indent);
                self.out.push_str(&" ".repeat(indent));
            }
            self.out.push('-');
            match item {
                Value::Object(map) if !map.is_empty() && self.choose(5) > 0 => {
                    let gap = [1, 1, 3][self.choose(3)];
                    self.out.push_str(&" ".repeat(gap));
                    self.block_map(map, indent + 1 + gap, false);
                }
                Value::Array(inner) if !inner.is_empty() && self.choose(3) > 0 => {
                    self.out.push(' ');
                    self.block_seq(inner, indent + 2, false);
                }
                item => self.inline_value(item, indent),
            }
        }
    }

    /// What goes behind a key, to the end of its last line.
    fn value(&mut self, value: &Value, indent: usize) {
        let flow = self.choose(6) == 0;
        match value {
            Value::Object(map) if !map.is_empty() && !flow => {
                let remark = self.remark();
                self.line(remark);
                self.block_map(map, indent + self.step, true);
            }
            Value::Array(items) if !items.is_empty() && !flow => {
                let remark = self.remark();
                self.line(remark);
                self.block_seq(items, indent + self.dash, true);
            }
            value => self.inline_value(value, indent),
        }
    }

    fn inline_value(&mut self, value: &Value, indent: usize) {
        if let Value::String(text) = value
            && self.choose(4) == 0
            && is_literal(text)
        {
            return self.literal(text, indent);
        }
        if value.is_null() && self.choose(2) == 0 {
            let remark = self.remark();
            return self.line(remark);
        }
        if is_full(value) && self.choose(3) == 0 {
            let text = self.spread(value, indent + 1);
            let remark = self.remark();
            return self.line(&format!(" {text}{remark}"));
        }
        let text = self.flow(value);
        let gap = [" ", " ", "   "][self.choose(3)];
        let remark = self.remark();
        self.line(&format!("{gap}{text}{remark}"));
    }

    fn literal(&mut self, text: &str, indent: usize) {
        let body = text.trim_end_matches('\n');
        let header = match text.len() - body.len() {
            0 => "|-",
            1 => "|",
            _ => "|+",
        };
        let comment = if self.choose(4) == 0 { " # script" } else { "" };
        self.line(&format!(" {header}{comment}"));
        let margin = " ".repeat(indent + self.step);
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            let line = if line.is_empty() {
                String::new()
            } else {
                format!("{margin}{line}")
            };
            self.line(&line);
        }
        if !text.ends_with("\n\n") && self.choose(4) == 0 {
            self.line("");
        }
        (self.literal, self.breaks) = (true, text.len() - body.len());
    }

    /// On one line.
    fn flow(&mut self, value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let blank = if self.choose(3) == 0 { " " } else { "" };
                let entries: Vec<_> = map
                    .iter()
                    .map(|(key, value)| format!("{}: {}", self.key(key), self.flow(value)))
                    .collect();
                let comma = if !map.is_empty() && self.choose(5) == 0 {
                    ","
                } else {
                    ""
                };
                format!("{{{blank}{}{comma}{blank}}}", entries.join(", "))
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.flow(item)).collect();
                let comma = if !items.is_empty() && self.choose(5) == 0 {
                    ","
                } else {
                    ""
                };
                format!("[{}{comma}]", items.join(", "))
            }
            Value::String(text) => self.string(text),
            Value::Null => ["null", "~", "Null"][self.choose(3)].to_owned(),
            Value::Bool(true) => ["true", "yes", "on", "True"][self.choose(4)].to_owned(),
            Value::Bool(false) => ["false", "no", "off"][self.choose(3)].to_owned(),
            Value::Number(number) => match number.as_u64() {
                Some(number) if self.choose(4) == 0 => format!("0x{number:X}"),
                Some(number) if self.choose(4) == 0 => format!("+{number}"),
                _ => number.to_string(),
            },
        }
    }

    /// In brackets over several lines.
    fn spread(&mut self, value: &Value, indent: usize) -> String {
        let eol = self.eol;
        let margin = " ".repeat(indent + 2);
        let parts: Vec<String> = match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| format!("{}: {}", self.key(key), self.flow(value)))
                .collect(),
            Value::Array(items) => items.iter().map(|item| self.flow(item)).collect(),
            value => return self.flow(value),
        };
        let (open, close) = if value.is_object() {
            ('{', '}')
        } else {
            ('[', ']')
        };
        let mut out = format!("{open}{eol}");
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            let comma = if !last || self.choose(3) == 0 {
                ","
            } else {
                ""
            };
            let comment = if self.choose(4) == 0 {
                " # one, [of] them"
            } else {
                ""
            };
            out.push_str(&format!("{margin}{part}{comma}{comment}{eol}"));
        }
        format!("{out}{}{close}", " ".repeat(indent))
    }

    fn key(&mut self, key: &str) -> String {
        if is_simple(key) && self.choose(5) > 0 {
            key.to_owned()
        } else {
            self.quoted(key)
        }
    }

    fn string(&mut self, text: &str) -> String {
        if is_simple(text) && self.choose(3) > 0 {
            text.to_owned()
        } else {
            self.quoted(text)
        }
    }

    fn quoted(&mut self, text: &str) -> String {
        if self.choose(2) == 0 && text.chars().all(|c| matches!(c, ' '..='~')) {
            format!("'{}'", text.replace('\'', "''"))
        } else {
            Value::from(text).to_string()
        }
    }
}

fn is_full(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// Surely a string without quotes, for every reader.
fn is_simple(text: &str) -> bool {
    text.len() > 3
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-./".contains(c))
        && !["true", "false", "null"].contains(&text)
}

fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && text
            .lines()
            .next()
            .is_some_and(|line| line.starts_with(|c: char| c.is_ascii_graphic()))
        && text.chars().all(|c| matches!(c, '\n' | ' '..='~'))
}
