//! A shell's script, as far as it is needed to find what it runs.

use std::{borrow::Cow, iter::Peekable, str::Chars};

/// The simple commands of a script with their words, one after the other: quoting is taken off, nothing
/// is expanded. Enough of POSIX's "Token Recognition" to find a program and its arguments.
pub(super) struct Commands<'s> {
    characters: Peekable<Chars<'s>>,
}

impl<'s> Commands<'s> {
    pub(super) fn of(script: &'s str) -> Self {
        Self {
            characters: script.chars().peekable(),
        }
    }
}

impl Iterator for Commands<'_> {
    type Item = Vec<Cow<'static, str>>;

    fn next(&mut self) -> Option<Self::Item> {
        let characters = &mut self.characters;
        let mut command = Vec::new();
        let mut word: Option<Word> = None;
        while let Some(character) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    // A continued line.
                    Some('\n') | None => {}
                    Some(escaped) => word.get_or_insert_default().push(escaped),
                },
                '\'' => {
                    let quoted = word.get_or_insert_default();
                    let inside = characters.by_ref().take_while(|next| *next != '\'');
                    inside.for_each(|character| quoted.push(character));
                }
                '"' => double_quoted(characters, word.get_or_insert_default()),
                '#' if word.is_none() => {
                    while characters.next_if(|next| *next != '\n').is_some() {}
                }
                ' ' | '\t' => end_word(&mut command, &mut word),
                '\n' | ';' | '&' | '|' | '(' | ')' | '{' | '}'
                    if !word.as_ref().is_some_and(Word::is_in_parameter) =>
                {
                    end_word(&mut command, &mut word);
                    if !command.is_empty() {
                        return Some(command);
                    }
                }
                other => word.get_or_insert_default().push(other),
            }
        }
        end_word(&mut command, &mut word);
        (!command.is_empty()).then_some(command)
    }
}

/// A word of a script that is being read.
#[derive(Default)]
struct Word {
    text: String,
    /// Behind `${`, and not behind its brace.
    in_braces: bool,
}

impl Word {
    fn push(&mut self, character: char) {
        match character {
            '{' if self.text.ends_with('$') => self.in_braces = true,
            '}' => self.in_braces = false,
            _ => {}
        }
        self.text.push(character);
    }

    /// Whether it is inside of `${...}`, whose braces are its own.
    fn is_in_parameter(&self) -> bool {
        self.in_braces || self.text.ends_with('$')
    }
}

fn double_quoted(characters: &mut Peekable<Chars<'_>>, word: &mut Word) {
    while let Some(character) = characters.next() {
        match character {
            '"' => return,
            '\\' => match characters.next() {
                Some('\n') | None => {}
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => {
                    word.push('\\');
                    word.push(other);
                }
            },
            other => word.push(other),
        }
    }
}

fn end_word(command: &mut Vec<Cow<'static, str>>, word: &mut Option<Word>) {
    let Some(Word { text, .. }) = word.take() else {
        return;
    };
    // Words of the shell's grammar that a command may stand behind.
    if !(command.is_empty() && ["then", "do", "else", "if", "while", "!"].contains(&text.as_str()))
    {
        command.push(Cow::Owned(text));
    }
}
