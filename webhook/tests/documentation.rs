//! What is written from the code is what is checked in. `UPDATE_DOCS=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;

use drainhook_webhook::annotations;

#[test]
fn the_page_of_annotations_is_the_table_of_the_code() {
    let page = support::root().join("docs/annotations.md");
    let text = annotations::documentation();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, &text).unwrap();
    }
    let there = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        there == text,
        "docs/annotations.md is old: run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn lines_outside_of_tables_fit_a_page() {
    for line in annotations::documentation()
        .lines()
        .filter(|line| !line.starts_with('|'))
    {
        assert!(line.len() <= 100, "{line}");
    }
}
