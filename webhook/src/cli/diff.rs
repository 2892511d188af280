//! What would change, as `diff -u` shows it.

use std::io::{self, IsTerminal};

use similar::{ChangeTag, TextDiff};

/// Lines around each change.
const CONTEXT: usize = 3;

/// When to colour.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct ColourArgs {
    /// Colours: on a terminal where NO_COLOR does not forbid it, always, or never
    #[arg(long, visible_alias = "colour", value_name = "WHEN", value_enum)]
    #[arg(default_value_t = When::Auto)]
    color: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

impl ColourArgs {
    /// Whether standard output gets colours.
    pub(super) fn on(self) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                io::stdout().is_terminal()
                    && !set("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }
}

/// The unified diff of one file, with its head.
pub(super) fn unified(name: &str, before: &str, after: &str, colour: bool) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut unified = diff.unified_diff();
    // `a//tmp/x` is a path that no tool takes apart.
    let name = name.trim_start_matches('/');
    let (old, new) = (format!("a/{name}"), format!("b/{name}"));
    let unified = unified.context_radius(CONTEXT).header(&old, &new);
    if !colour {
        return unified.to_string();
    }
    let mut out = format!("\x1b[1m--- {old}\n+++ {new}\x1b[0m\n");
    for hunk in unified.iter_hunks() {
        out.push_str(&format!("\x1b[36m{}\x1b[0m\n", hunk.header()));
        for change in hunk.iter_changes() {
            let (start, sign) = match change.tag() {
                ChangeTag::Delete => ("\x1b[31m", '-'),
                ChangeTag::Insert => ("\x1b[32m", '+'),
                ChangeTag::Equal => ("", ' '),
            };
            let end = if start.is_empty() { "" } else { "\x1b[0m" };
            let line = change.value().trim_end_matches(['\n', '\r']);
            out.push_str(&format!("{start}{sign}{line}{end}\n"));
        }
    }
    out
}
