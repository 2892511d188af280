//! Where a block scalar (`|`, `>`) ends.
//!
//! Apart from the walk since here lines are what counts: whether one of the last ones belongs to the
//! value is a matter of its indentation, and of the line break that the text may end without.

use crate::manifest::text::{line_end, skip_break};

/// The last line of a block scalar's value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where the last line that belongs to the value ends, before its line break.
    pub(super) end: usize,
    /// The text ends there without a line break, and with one the value would be another.
    pub(super) open: bool,
    /// The parser's value ends with a line break that the text does not have. Kubernetes' reader adds
    /// none, neither to a last line of content nor to one of blanks alone.
    pub(super) break_added: bool,
}

/// Of the block scalar whose `|` or `>` is at `header` and whose range ends at `end` for the parser:
/// that runs on over blank lines, which belong to the value under `+` alone, and into the
/// indentation of what follows. `parent`: the column of the block collection around it.
pub(super) fn extent(text: &str, header: usize, end: usize, parent: Option<usize>) -> Extent {
    let header_end = line_end(text, header);
    let indicators = text[header..header_end]
        .split([' ', '\t', '#'])
        .next()
        .unwrap_or_default();
    let (keeps, strips) = (indicators.contains('+'), indicators.contains('-'));
    let first = skip_break(text, header_end);
    let end = if end < text.len() {
        text[..end].rfind(['\n', '\r']).map_or(0, |at| at + 1)
    } else {
        end
    };
    let depth = match indicators.chars().find_map(|c| c.to_digit(10)) {
        Some(digit) => parent.unwrap_or_default() + digit as usize,
        None => indentation(text, first, end).max(parent.map_or(0, |column| column + 1)),
    };
    let mut last = None;
    for (start, line) in lines(text, first, end) {
        let finished = start + line.len() < text.len();
        // Blanks beyond the indentation are content, and so is a tab.
        let has_content = spaces(line) < line.len() || line.len() > depth;
        if has_content || keeps && finished {
            last = Some(start + line.len());
        }
    }
    let open = last == Some(text.len()) && !strips;
    let is_one_line = first < end && line_end(text, first) == text.len();
    Extent {
        end: last.unwrap_or(header_end),
        open,
        break_added: open || keeps && is_one_line,
    }
}

/// How deep the lines of a block scalar are indented whose header does not say it: as the first one
/// with content is.
fn indentation(text: &str, first: usize, end: usize) -> usize {
    let mut deepest = 0;
    for (_, line) in lines(text, first, end) {
        deepest = deepest.max(spaces(line));
        if spaces(line) < line.len() {
            break;
        }
    }
    deepest
}

/// The lines between two places, without their line breaks, and where each begins.
fn lines(text: &str, first: usize, end: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut next = first;
    std::iter::from_fn(move || {
        let start = next;
        let line = text.get(start..line_end(text, start).min(end))?;
        next = skip_break(text, start + line.len());
        (start < end).then_some((start, line))
    })
}

fn spaces(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the block scalar that the text ends with, in a block collection at column 0: how many bytes
    /// are behind its end, whether it is open, and whether a line break was added.
    #[track_caller]
    fn case(text: &str, behind: usize, open: bool, break_added: bool) {
        let header = text.find(['|', '>']).unwrap();
        let extent = extent(text, header, text.len(), Some(0));
        let expected = Extent {
            end: text.len() - behind,
            open,
            break_added,
        };
        assert_eq!(extent, expected, "{text:?}");
    }

    #[test]
    fn blanks_beyond_the_indentation_are_content_even_without_a_line_break() {
        for header in ["|", ">", "|+", ">+", "|1", "|1+", "|+1 # c"] {
            case(&format!("a: {header}\n x\n  "), 0, true, true);
        }
        for header in ["|-", ">-", "|1-", "|-1"] {
            case(&format!("a: {header}\n x\n  "), 0, false, false);
        }
    }

    #[test]
    fn blanks_up_to_the_indentation_are_no_line_where_the_text_ends() {
        for header in ["|", "|+", "|-", "|1+", "|-1"] {
            case(&format!("a: {header}\n x\n "), 2, false, false);
        }
        case("a: |+\r\n x\r\n\r\n ", 3, false, false);
    }

    #[test]
    fn empty_lines_at_the_end_belong_to_the_value_where_it_keeps_them() {
        case("a: |+\n x\n\n\n", 1, false, false);
        case("a: |\n x\n\n\n", 3, false, false);
        case("a: |-\r\n x\r\n\r\n", 4, false, false);
        case("a: |+\n\n", 1, false, false);
    }

    #[test]
    fn a_tab_is_content_and_so_are_blanks_where_the_header_says_how_deep() {
        case("a: |\n \t\n", 1, false, false);
        case("a: |1\n  \n", 1, false, false);
        case("a: |2\n  \n", 4, false, false);
        case("a: |1\n  ", 0, true, true);
    }

    #[test]
    fn the_parser_takes_blanks_alone_for_a_line_where_the_text_ends() {
        case("a: |+\n ", 2, false, true);
        case("a: |\n ", 2, false, false);
        case("a: |+", 0, false, false);
        case("a: |", 0, false, false);
    }

    #[test]
    fn the_indentation_of_what_follows_is_none_of_its_lines() {
        let text = "a:\n  b: |+\n    x\n\n  c: 1\n";
        let extent = extent(text, 8, text.find("c:").unwrap(), Some(2));
        assert_eq!(&text[extent.end..], "\n  c: 1\n");
        assert!(!extent.open && !extent.break_added);
    }
}
