//! Manifests in the styles that people and tools write: `styles/NAME.EXT`, and beside it what
//! `drainhook inject` makes of it, `styles/NAME.injected.EXT`.
//!
//! `UPDATE_GOLDENS=1 cargo test -p drainhook-webhook --test text` writes the outputs anew; each is
//! to be read before it is checked in.

use std::fs;
use std::path::{Path, PathBuf};

use drainhook_webhook::Configuration;
use drainhook_webhook::cli::{inject_text, uninject_text};
use similar::{ChangeTag, TextDiff};

fn inputs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/text/styles");
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = entries
        .filter(|path| !path.to_str().unwrap().contains(".injected."))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 16, "the corpus is there");
    inputs
}

fn output(input: &Path) -> PathBuf {
    let ending = input.extension().unwrap().to_str().unwrap();
    input.with_extension(format!("injected.{ending}"))
}

fn inject(text: &str) -> String {
    inject_text(text, &Configuration::default()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

#[test]
fn each_style_is_injected_as_its_golden_shows() {
    for path in inputs() {
        let injected = inject(&fs::read_to_string(&path).unwrap());
        let golden = output(&path);
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&golden, &injected).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(injected, expected, "{}", path.display());
    }
}

#[test]
fn each_style_comes_back_to_the_byte() {
    for path in inputs() {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            uninject_text(&inject(&text)).unwrap(),
            text,
            "{}",
            path.display()
        );
    }
}

#[test]
fn injecting_twice_gives_the_same_bytes() {
    for path in inputs() {
        let once = inject(&fs::read_to_string(&path).unwrap());
        assert_eq!(inject(&once), once, "{}", path.display());
    }
}

#[test]
fn lines_that_are_not_about_the_drain_stay() {
    for path in inputs()
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
    {
        let text = fs::read_to_string(path).unwrap();
        let injected = inject(&text);
        for change in TextDiff::from_lines(&text, &injected).iter_all_changes() {
            if change.tag() == ChangeTag::Delete {
                let line = change.value();
                // Flow style holds much on a line, a hook may be replaced, emptiness filled.
                let ours = [
                    "terminationGracePeriodSeconds",
                    "lifecycle",
                    "{",
                    "}",
                    "[",
                    "exec:",
                ]
                .iter()
                .any(|ours| line.contains(ours));
                let unfinished = text.ends_with(line) && !line.ends_with('\n');
                let comma = injected.contains(&line.replace(" #", ", #"));
                let replaced =
                    line.contains("# fifteen seconds") || line.contains("# nothing either");
                assert!(
                    ours || unfinished || comma || replaced,
                    "{}: {line:?} is gone",
                    path.display()
                );
            }
        }
    }
}
