//! Why a test failed, said last.
//!
//! A panic speaks before what the test stood on is dropped, and what that prints of a whole cluster pushes
//! its words out of sight: whoever reads the end of a log reads pods and events, and not what was wrong.

use std::{cell::RefCell, fs, panic, path::PathBuf, sync::Once, thread};

use anyhow::{Context, Result};

/// The last lines of a description are the ones of the moment of the failure.
const SHOWN: usize = 12;

thread_local! {
    static WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on the words of a panic are kept, on the thread that panics, for [`repeat`].
pub fn keep_words() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            WORDS.replace(Some(panic.to_string()));
            usual(panic);
        }));
    });
}

/// Prints again why this thread panics, where it does and [`keep_words`] was called before.
pub fn repeat() {
    WORDS.with_borrow(|words| {
        if let (true, Some(words)) = (thread::panicking(), words) {
            eprintln!("\nthe test {words}");
        }
    });
}

/// What is known of a failed test, part by part: the whole of each goes into a file, and the last
/// lines of each are printed, with the file's name.
#[derive(Debug, Default)]
pub struct Description(Vec<(String, String)>);

impl Description {
    /// A part more.
    pub fn add(&mut self, title: &str, text: String) {
        self.0.push((title.to_owned(), text));
    }

    /// Writes and prints it. The file is beside the test's program, called after the test.
    ///
    /// # Errors
    /// When it cannot be written; it is printed all the same.
    pub fn show(&self) -> Result<()> {
        let parts = || self.0.iter();
        for (title, text) in parts() {
            let lines: Vec<_> = text.lines().collect();
            let left_out = lines.len().saturating_sub(SHOWN);
            let note = match left_out {
                0 => String::new(),
                _ => format!(" ({left_out} lines before)"),
            };
            eprintln!("--- {title}{note}:\n{}", lines[left_out..].join("\n"));
        }
        let path = path()?;
        let whole = parts().map(|(title, text)| format!("--- {title}:\n{text}\n"));
        fs::write(&path, whole.collect::<String>())
            .with_context(|| format!("write {}", path.display()))?;
        eprintln!("--- all of it: {}", path.display());
        Ok(())
    }
}

fn path() -> Result<PathBuf> {
    let program = std::env::current_exe().context("ask for the path of this program")?;
    let test = thread::current()
        .name()
        .unwrap_or("test")
        .replace("::", "-");
    Ok(program.with_file_name(format!("failed-{test}.txt")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_panic_are_kept_with_their_place() {
        keep_words();
        let panicked = thread::spawn(|| {
            let panicked = panic::catch_unwind(|| panic!("too late: {}", 7));
            assert!(panicked.is_err());
            WORDS.take()
        });
        let words = panicked.join().unwrap().unwrap();
        assert!(words.starts_with("panicked at "), "{words}");
        assert!(words.contains("failure.rs:"), "{words}");
        assert!(words.ends_with("too late: 7"), "{words}");
    }
}
