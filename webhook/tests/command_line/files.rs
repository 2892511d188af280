//! Files, directories, and what is left behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::program::{POD, REFUSED, drainhook_in, piped};

#[test]
fn files_are_changed_in_place_and_keep_mode_and_link() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("sub")).unwrap();
    fs::write(path.join("sub/pod.yaml"), POD).unwrap();
    fs::set_permissions(path.join("sub/pod.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("sub/pod.yaml", path.join("link.yaml")).unwrap();
    let run = drainhook_in(path, &["inject", "-i", "-f", "link.yaml", "sub"]);
    assert_eq!((run.status, run.out.as_str()), (0, ""), "{run:?}");
    let text = fs::read_to_string(path.join("sub/pod.yaml")).unwrap();
    assert_eq!(text, piped(&["inject"], POD).out);
    let mode = fs::metadata(path.join("sub/pod.yaml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(path.join("link.yaml").is_symlink());
    let left: Vec<_> = fs::read_dir(path.join("sub")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left behind: {left:?}");
    // The link and the file are one manifest.
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
}

#[test]
fn one_refused_file_leaves_all_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("a.yaml"), POD).unwrap();
    fs::write(path.join("b.yaml"), REFUSED).unwrap();
    let run = drainhook_in(path, &["inject", "--in-place", "."]);
    assert_eq!(run.status, 1);
    assert_eq!(fs::read_to_string(path.join("a.yaml")).unwrap(), POD);
    assert!(
        run.err.contains("./b.yaml: document 1: pod/wrong: "),
        "{}",
        run.err
    );
}

#[test]
fn a_directory_gives_its_manifests_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("deeper")).unwrap();
    fs::write(path.join("b.yml"), "kind: B").unwrap();
    fs::write(path.join("a.yaml"), "---\nkind: A\n").unwrap();
    fs::write(path.join("c.json"), "{\"kind\":\"C\"}").unwrap();
    fs::write(path.join("notes.txt"), "no: manifest").unwrap();
    fs::write(path.join("deeper/d.yaml"), "kind: D\n").unwrap();
    let run = drainhook_in(path, &["inject", "-f", "."]);
    assert_eq!(run.out, "---\nkind: A\n---\nkind: B\n---\n{\"kind\":\"C\"}");
    let run = drainhook_in(path, &["inject", "-R", "."]);
    assert_eq!(
        run.out,
        "---\nkind: A\n---\nkind: B\n---\n{\"kind\":\"C\"}\n---\nkind: D\n"
    );
}

#[test]
fn all_files_that_cannot_be_read_are_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("empty")).unwrap();
    fs::write(path.join("binary.yaml"), [0x61, 0xff]).unwrap();
    fs::write(path.join("wide.yaml"), [0xff, 0xfe, 0x61, 0]).unwrap();
    let files = [
        "inject",
        "missing.yaml",
        "empty",
        "binary.yaml",
        "wide.yaml",
        "https://x/y",
    ];
    let run = drainhook_in(path, &files);
    assert_eq!((run.status, run.out.as_str()), (66, ""));
    let lines: Vec<_> = run.err.lines().collect();
    assert_eq!(lines.len(), 5, "{}", run.err);
    assert!(
        lines[0].starts_with("drainhook: missing.yaml: "),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("no file that ends in .yaml"),
        "{}",
        lines[1]
    );
    assert!(lines[2].contains("is not UTF-8 (byte 1)"), "{}", lines[2]);
    assert!(lines[3].contains("is UTF-16"), "{}", lines[3]);
    assert!(lines[4].contains("curl"), "{}", lines[4]);
}

#[test]
fn a_diff_shows_what_would_change_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("pod.yaml"), POD).unwrap();
    fs::write(path.join("other.yaml"), "kind: Service\n").unwrap();
    let run = drainhook_in(path, &["inject", "--diff", "pod.yaml", "other.yaml"]);
    assert!(
        run.out.starts_with("--- a/pod.yaml\n+++ b/pod.yaml\n@@ "),
        "{}",
        run.out
    );
    assert!(
        run.out.contains("\n+  - name: shutdown-manager\n"),
        "{}",
        run.out
    );
    assert!(!run.out.contains("\n-"), "{}", run.out);
    assert!(!run.out.contains("other.yaml"), "{}", run.out);
    assert!(!run.out.contains('\x1b'), "no colour into a pipe");
    assert_eq!(fs::read_to_string(path.join("pod.yaml")).unwrap(), POD);
    let run = drainhook_in(path, &["inject", "--diff", "--color", "always", "pod.yaml"]);
    assert!(
        run.out
            .contains("\x1b[32m+  - name: shutdown-manager\x1b[0m\n"),
        "{}",
        run.out
    );
}

#[test]
fn an_empty_text_stays_empty() {
    for text in ["", "# nothing\n", "---\n"] {
        let run = piped(&["inject"], text);
        assert_eq!((run.status, run.out.as_str()), (0, text));
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_is_told() {
    let run = drainhook_in(
        std::path::Path::new("/proc/self"),
        &["inject", "-i", "environ"],
    );
    // Nobody can write there, not even root; whether it can be read as YAML is another matter.
    assert_ne!(run.status, 0, "{run:?}");
}
