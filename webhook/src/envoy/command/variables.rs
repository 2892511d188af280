//! References to variables in the words of a container.

use std::{borrow::Cow, collections::HashMap};

use super::LONGEST_WORD;
use crate::pod::Container;

/// Bytes that references to variables may add to the words of a container, at least: every variable may
/// stand there twice, and short ones more often. Without a bound a few kilobytes of references to a
/// long value would become gigabytes.
const LEAST_EXPANSION: usize = 4096;

/// The same, at most.
const MOST_EXPANSION: usize = 2 * LONGEST_WORD;

/// Bytes. The name of a variable ends within these, or a text of nothing but beginnings of references
/// would be searched to its end for each of them.
const LONGEST_NAME: usize = 256;

/// The literal variables of a container, to expand its words by.
pub(super) struct Variables<'a> {
    /// The last of several of a name holds; a value from elsewhere is `None`.
    values: HashMap<&'a str, Option<&'a str>>,
    /// Bytes that may be put in for references yet.
    left: usize,
}

impl<'a> Variables<'a> {
    pub(super) fn of(container: &Container<'a>) -> Self {
        let lengths = container.env.iter().filter_map(|(_, value)| *value);
        let all: usize = lengths.map(str::len).sum();
        Self {
            values: container.env.iter().copied().collect(),
            left: (2 * all).clamp(LEAST_EXPANSION, MOST_EXPANSION),
        }
    }

    pub(super) fn expand_all<'t>(&mut self, words: &[&'t str]) -> Vec<Cow<'t, str>> {
        words.iter().map(|word| self.expand(word)).collect()
    }

    /// Expands `$(NAME)` as the kubelet does; what cannot be known, and what would go over all
    /// bounds, stays. `$$` is an escaped `$`.
    fn expand<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        if text.len() > LONGEST_WORD || !text.contains('$') {
            return Cow::Borrowed(text);
        }
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            expanded.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                expanded.push('$');
                rest = after;
                continue;
            }
            match reference(rest).and_then(|(name, after)| Some((self.take(name)?, after))) {
                Some((value, after)) => {
                    expanded.push_str(value);
                    rest = after;
                }
                None => expanded.push('$'),
            }
        }
        expanded.push_str(rest);
        Cow::Owned(expanded)
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let value = (*self.values.get(name)?)?;
        self.left = self.left.checked_sub(value.len())?;
        Some(value)
    }
}

/// The name in `(NAME)` and what stands behind it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('(')?;
    let mut bytes = inner.bytes().take(LONGEST_NAME + 1);
    let end = bytes.position(|byte| byte == b')')?;
    Some((&inner[..end], &inner[end + 1..]))
}
