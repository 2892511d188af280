//! What a person reads: printable, short, and few.
//!
//! The API server drops a warning with control characters and cuts warnings at 256 characters once
//! they are over 4,096 in total, so nothing that a user wrote gets into a message as it is.

use std::{collections::HashSet, fmt::Write};

/// The API server cuts a warning here when all of a response's warnings are too long together.
pub const LONGEST_WARNING: usize = 256;

/// More would reach the API server's total of 4,096 characters, after which it cuts.
pub const MOST_WARNINGS: usize = 15;

/// Nobody mends more than these at once, and a pod may be nothing but faults.
pub(crate) const MOST_MESSAGES: usize = 50;

/// A value that somebody wrote is shown up to here: enough to be found again.
const LONGEST_VALUE: usize = 64;

/// The value in quotes, printable and cut.
pub(crate) fn quoted(value: &str) -> String {
    let mut shown = String::with_capacity(value.len().min(LONGEST_VALUE) + 2);
    shown.push('"');
    for (count, character) in value.chars().enumerate() {
        if count == LONGEST_VALUE {
            shown.push_str("...");
            break;
        }
        push_printable(&mut shown, character);
    }
    shown.push('"');
    shown
}

/// The text with everything that is not printable escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        push_printable(&mut shown, character);
    }
    shown
}

fn push_printable(shown: &mut String, character: char) {
    if character == ' ' || character.is_ascii_graphic() {
        shown.push(character);
    } else {
        // Writing into a String cannot fail.
        let _ = write!(shown, "{}", character.escape_unicode());
    }
}

/// Warnings as they may be sent: each printable and short, none twice, and few.
#[must_use]
pub fn fit(warnings: Vec<String>) -> Vec<String> {
    let mut fitting: Vec<String> = Vec::with_capacity(warnings.len().min(MOST_WARNINGS));
    let mut left_out = 0usize;
    for warning in warnings {
        let short = shorten(&printable(&warning));
        if fitting.contains(&short) {
            continue;
        }
        if fitting.len() == MOST_WARNINGS - 1 {
            left_out += 1;
            continue;
        }
        fitting.push(short);
    }
    if left_out > 0 {
        fitting.push(format!(
            "and {left_out} more: `drainhook check` names them all"
        ));
    }
    fitting
}

/// Each message once, in their order; many are cut.
pub(crate) fn distinct<'m>(messages: impl Iterator<Item = &'m String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut distinct: Vec<String> = Vec::new();
    let mut left_out = 0usize;
    for message in messages.filter(|message| seen.insert(message.as_str())) {
        if distinct.len() < MOST_MESSAGES {
            distinct.push(message.clone());
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        distinct.push(format!("and {left_out} more"));
    }
    distinct
}

fn shorten(text: &str) -> String {
    // `printable` leaves ASCII only, so bytes are characters.
    if text.len() <= LONGEST_WARNING {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST_WARNING - 3).collect();
    short.push_str("...");
    short
}

/// Names as a sentence has them: `a`, `a and b`, `a, b and c`; many are cut.
pub(crate) fn list(names: &[&str]) -> String {
    const MOST: usize = 6;
    let shown: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| printable(name))
        .collect();
    if names.len() > MOST {
        return format!("{} and {} more", shown.join(", "), names.len() - MOST);
    }
    match shown.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_more_than_six_names_is_cut() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(list(&names[..6]), "a, b, c, d, e and f");
        assert_eq!(list(&names), "a, b, c, d, e, f and 1 more");
    }

    #[test]
    fn control_characters_and_foreign_scripts_are_escaped() {
        assert_eq!(quoted("a\n\u{202e}b"), r#""a\u{a}\u{202e}b""#);
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(
            quoted(&"x".repeat(100)),
            format!("\"{}...\"", "x".repeat(64))
        );
    }

    #[test]
    fn a_warning_is_never_longer_than_the_api_server_takes() {
        let fitting = fit(vec!["é".repeat(300)]);
        assert_eq!(fitting.len(), 1);
        assert_eq!(fitting[0].len(), LONGEST_WARNING);
    }

    #[test]
    fn many_warnings_become_few_and_say_so() {
        let fitting = fit((0..40).map(|number| format!("fault {number}")).collect());
        assert_eq!(fitting.len(), MOST_WARNINGS);
        assert_eq!(fitting[14], "and 26 more: `drainhook check` names them all");
    }

    #[test]
    fn a_warning_is_said_once() {
        assert_eq!(fit(vec!["same".into(), "same".into()]), ["same"]);
    }

    #[test]
    fn many_messages_are_cut_and_each_is_said_once() {
        let messages: Vec<String> = (0..200)
            .map(|number| format!("fault {}", number / 2))
            .collect();
        let said = distinct(messages.iter());
        assert_eq!(said.len(), MOST_MESSAGES + 1);
        assert_eq!(
            (said[0].as_str(), said[49].as_str()),
            ("fault 0", "fault 49")
        );
        assert_eq!(said[50], "and 50 more");
        assert_eq!(distinct(messages[..4].iter()), ["fault 0", "fault 1"]);
    }

    #[test]
    fn names_are_listed_as_a_sentence_has_them() {
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a"; 9]), "a, a, a, a, a, a and 3 more");
    }
}
