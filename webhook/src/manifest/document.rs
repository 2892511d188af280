//! A text as documents: YAML (many, between `---`) or JSON (one behind the other).

use std::fmt;

use granit_parser::{Event, Options, Parser, ScanError};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::text::{line_end, line_number, line_start};
use super::tree::{Builder, Misplaced, Tree};
use super::value::{MAX_DEPTH, Reader};

/// The largest text that is read, in bytes. The API server takes objects of 3 MiB at most; a file
/// may hold many of them.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;

/// One document of a text: its value and the place of everything in it.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its place in the text, from 1. Empty documents count, as they do for kubectl.
    pub number: usize,
    /// The line on which its content begins, from 1.
    pub line: usize,
    /// How it is written.
    pub format: Format,
    /// Its value as Kubernetes reads it.
    pub value: Value,
    pub(super) tree: Tree,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON, which stays JSON.
    Json,
}

/// Why a text, or one document of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}, line {line}: {message}")]
pub struct SyntaxError {
    /// The document's place in the text, from 1.
    pub document: usize,
    /// The line of the text, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads all documents of `text`.
///
/// # Errors
///
/// All faults of all documents: what is no YAML, keys that stand twice, values without a form in
/// JSON, nesting beyond every bound. Nothing is given back then: whoever cannot read a part of a
/// file has no business to write it.
pub fn parse(text: &str) -> Result<Vec<Document>, Vec<SyntaxError>> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "{} bytes are more than the {MAX_BYTES} that are read",
            text.len()
        );
        return Err(vec![SyntaxError {
            document: 1,
            line: 1,
            message,
        }]);
    }
    let mut stream = Stream {
        text,
        documents: Vec::new(),
        faults: Vec::new(),
        counted: (0, 1),
    };
    match json_documents(text) {
        Some(ranges) => {
            for (start, end) in ranges {
                stream.read(&text[start..end], start, Format::Json);
            }
        }
        None => {
            let start = text.len() - text.trim_start_matches('\u{feff}').len();
            stream.read(&text[start..], start, Format::Yaml);
        }
    }
    if stream.faults.is_empty() {
        Ok(stream.documents)
    } else {
        Err(stream.faults)
    }
}

/// The byte ranges of JSON documents that follow each other, where the text is nothing else.
fn json_documents(text: &str) -> Option<Vec<(usize, usize)>> {
    let start = text.len()
        - text
            .trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n'])
            .len();
    if !text[start..].starts_with(['{', '[']) {
        return None;
    }
    let mut documents =
        serde_json::Deserializer::from_str(&text[start..]).into_iter::<IgnoredAny>();
    let mut ranges = Vec::new();
    let mut at = start;
    while let Some(document) = documents.next() {
        document.ok()?;
        let end = start + documents.byte_offset();
        let begin = at + (text[at..end].len() - text[at..end].trim_start().len());
        ranges.push((begin, end));
        at = end;
    }
    Some(ranges)
}

struct Stream<'a> {
    text: &'a str,
    documents: Vec<Document>,
    faults: Vec<SyntaxError>,
    /// A place in the text and its line: lines are counted on from there, and not from the start
    /// for each of thousands of documents.
    counted: (usize, usize),
}

impl Stream<'_> {
    /// Reads the documents of one part of the text, which begins at `base`.
    fn read(&mut self, part: &str, base: usize, format: Format) {
        let mut parser = Parser::new_from_str_with_options(part, options());
        let mut builder = Builder::default();
        let mut from = base;
        let mut number = self.documents.len();
        while let Some(next) = parser.next() {
            let (event, span) = match next {
                Ok(next) => next,
                Err(error) => {
                    self.syntax_error(number.max(1), base, &error);
                    builder = Builder::default();
                    match parser.proceed_next_document() {
                        Ok(true) => continue,
                        _ => break,
                    }
                }
            };
            let range = span.byte_range().unwrap_or_default();
            match event {
                Event::DocumentStart(explicit, _) => {
                    number += 1;
                    builder = Builder::default();
                    from = base + if explicit { range.end } else { range.start };
                }
                Event::DocumentEnd => {
                    self.document(std::mem::take(&mut builder).finish(), number, from, format);
                }
                event => builder.event(event, &span, base),
            }
        }
    }

    fn document(&mut self, mut tree: Tree, number: usize, from: usize, format: Format) {
        if let Err(Misplaced { at }) = tree.place(self.text, from) {
            let message = "cannot tell where this stands in the text; please report the document";
            return self.fault(number, at, message);
        }
        let line = |at| line_number(self.text, at);
        let content = tree.root().map_or(from, |root| tree.node(root).start);
        let format = match format {
            Format::Yaml if self.is_json(&tree) => Format::Json,
            format => format,
        };
        match Reader::new(&tree, format == Format::Json, &line).read() {
            Ok(value) => {
                let line = self.line(content);
                self.documents.push(Document {
                    number,
                    line,
                    format,
                    value,
                    tree,
                });
            }
            Err(faults) => {
                for (at, fault) in faults {
                    self.fault(number, at, fault);
                }
            }
        }
    }

    /// A document between `---` may be JSON too.
    fn is_json(&self, tree: &Tree) -> bool {
        let Some(root) = tree.root().map(|root| tree.node(root)) else {
            return false;
        };
        let text = &self.text[root.start..root.end];
        text.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    fn line(&mut self, at: usize) -> usize {
        let (from, line) = self.counted;
        self.counted = match self.text.get(from..at) {
            Some(passed) => (at, line + passed.matches('\n').count()),
            None => (at, line_number(self.text, at)),
        };
        self.counted.1
    }

    fn syntax_error(&mut self, document: usize, base: usize, error: &ScanError) {
        let at = base + error.marker().byte_offset().unwrap_or_default();
        self.fault(document, at, error.info());
    }

    fn fault(&mut self, document: usize, at: usize, message: impl fmt::Display) {
        let at = at.min(self.text.len());
        let start = line_start(self.text, at);
        let template = self.text[start..line_end(self.text, start)].contains("{{");
        let hint = if template {
            "; this looks like a template: render it first (`helm template`), or use drainhook as \
             Helm's post-renderer"
        } else {
            ""
        };
        let line = line_number(self.text, at);
        let message = format!("{message}{hint}");
        self.faults.push(SyntaxError {
            document,
            line,
            message,
        });
    }
}

fn options() -> Options {
    granit_parser::options! {
        emit_anchor_events: true,
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    }
}
