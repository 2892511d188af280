//! Putting replacements into a text.

/// One replacement: the bytes from `start` to `end` become `text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextEdit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

/// The text with all replacements made. `None` where two overlap.
pub(super) fn splice(text: &str, mut edits: Vec<TextEdit>) -> Option<String> {
    // Stable: what is inserted at one place stays in the order in which it was asked for, before
    // what is removed behind it.
    edits.sort_by_key(|edit| (edit.start, edit.end));
    let grown = edits.iter().map(|edit| edit.text.len()).sum::<usize>();
    let mut out = String::with_capacity(text.len() + grown);
    let mut at = 0;
    for edit in &edits {
        out.push_str(text.get(at..edit.start)?);
        out.push_str(&edit.text);
        at = edit.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(start: usize, end: usize, text: &str) -> TextEdit {
        TextEdit {
            start,
            end,
            text: text.into(),
        }
    }

    #[test]
    fn replacements_apply_in_any_order() {
        let edits = vec![edit(4, 5, "E"), edit(0, 1, "A"), edit(2, 2, "+")];
        assert_eq!(splice("abcde", edits).as_deref(), Some("Ab+cdE"));
    }

    #[test]
    fn overlapping_replacements_are_refused() {
        assert_eq!(splice("abcde", vec![edit(0, 3, ""), edit(2, 4, "")]), None);
    }
}
