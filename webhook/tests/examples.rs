//! The examples, before and after. `UPDATE_EXAMPLES=1` writes what comes after anew.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn examples() -> Vec<PathBuf> {
    let files = fs::read_dir(support::root().join("examples")).unwrap();
    let mut files: Vec<PathBuf> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn drainhook(verb: &str, file: &Path) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_drainhook"))
        .args([verb, "-f"])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {said}", file.display());
    (String::from_utf8(output.stdout).unwrap(), said)
}

fn injected(file: &Path) -> PathBuf {
    file.parent()
        .unwrap()
        .join("injected")
        .join(file.file_name().unwrap())
}

#[test]
fn each_example_comes_out_as_it_is_shown() {
    assert!(examples().len() >= 8);
    for file in examples() {
        let (text, said) = drainhook("inject", &file);
        let shown = injected(&file);
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            fs::create_dir_all(shown.parent().unwrap()).unwrap();
            fs::write(&shown, &text).unwrap();
        }
        let expected = fs::read_to_string(&shown).unwrap_or_default();
        assert!(
            text == expected,
            "{} is old: UPDATE_EXAMPLES=1",
            shown.display()
        );
        assert!(said.contains(": injected"), "{}: {said}", file.display());
    }
}

#[test]
fn each_example_is_given_back_to_the_byte() {
    for file in examples() {
        let (text, _) = drainhook("uninject", &injected(&file));
        let before = fs::read_to_string(&file).unwrap();
        assert!(text == before, "{}:\n{text}", file.display());
    }
}

#[test]
fn each_example_is_named_in_the_list() {
    let list = fs::read_to_string(support::root().join("examples/README.md")).unwrap();
    for file in examples() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(list.contains(&format!("| `{name}` |")), "{name}");
    }
}
