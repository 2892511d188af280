//! Lines, blanks and comments of a text.

/// The end of the line that `at` is in, before its line break.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find(['\n', '\r'])
        .map_or(text.len(), |found| at + found)
}

/// The start of the line that `at` is in. A byte order mark is no part of a line. It may
/// stand before any document that no `---` begins, and below comments.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    let start = text[..at].rfind(['\n', '\r']).map_or(0, |found| found + 1);
    at - text[start..at].trim_start_matches('\u{feff}').len()
}

/// The end of the line before the one that begins at `start`, before its line break. `None` on the
/// first line.
pub(super) fn previous_line_end(text: &str, start: usize) -> Option<usize> {
    let before = &text[..start];
    let before = before
        .strip_suffix('\n')
        .or_else(|| before.strip_suffix('\r'))?;
    let before = if text[before.len()..].starts_with('\n') {
        before.strip_suffix('\r').unwrap_or(before)
    } else {
        before
    };
    Some(before.len())
}

/// Past the line break at `at`, where there is one.
pub(super) fn skip_break(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    at + match rest.as_bytes() {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// The number of the line, from 1.
pub(super) fn line_number(text: &str, at: usize) -> usize {
    let before = &text[..at.min(text.len())];
    1 + before.matches('\n').count()
}

/// The column, in characters from 0.
pub(super) fn column(text: &str, at: usize) -> usize {
    text[line_start(text, at)..at].chars().count()
}

/// Past blanks, comments and line breaks.
pub(super) fn skip_trivia(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'#' => at = line_end(text, at),
            _ => break,
        }
    }
    at
}

/// Whether nothing but blanks and a comment follows on the line.
pub(super) fn line_is_over(text: &str, at: usize) -> bool {
    let rest = text[at..line_end(text, at)].trim_start_matches([' ', '\t']);
    rest.is_empty() || rest.starts_with('#')
}

/// Whether nothing but blanks stands before `at` on its line.
pub(super) fn is_first_on_line(text: &str, at: usize) -> bool {
    text[line_start(text, at)..at]
        .bytes()
        .all(|byte| matches!(byte, b' ' | b'\t'))
}

/// The text's own line break: its first one.
pub(super) fn line_break(text: &str) -> &'static str {
    match text.find(['\n', '\r']) {
        Some(at) if text[at..].starts_with("\r\n") => "\r\n",
        Some(at) if text[at..].starts_with('\r') => "\r",
        _ => "\n",
    }
}
