//! Completions and the manual, from the definitions of the command line itself.

use std::fs;

use super::program::drainhook;

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = drainhook(&["completions", shell]);
        assert_eq!(run.status, 0, "{shell}");
        for word in ["uninject", "kubernetes-version"] {
            assert!(run.out.contains(word), "{shell} knows no {word}");
        }
    }
}

#[test]
fn bash_takes_its_completions() {
    let script = drainhook(&["completions", "bash"]).out;
    let check = format!(
        "{script}\nCOMP_WORDS=(drainhook inj) COMP_CWORD=1\n_drainhook drainhook inj drainhook\necho \"${{COMPREPLY[@]}}\""
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &check])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "inject\n");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let run = drainhook(&["man"]);
    assert!(
        run.out.starts_with(".ie \\n(.g") && run.out.contains("drainhook\\-inject(1)"),
        "{}",
        run.out
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(
        drainhook(&["man", "--directory", path.to_str().unwrap()]).status,
        0
    );
    // Each page has an option that is that command's alone.
    for (command, option) in [
        ("inject", "\\-\\-in\\-place"),
        ("uninject", "\\-\\-in\\-place"),
        ("check", "\\-\\-strict"),
        ("verify", "\\-\\-wait"),
        ("serve", "\\-\\-max\\-connections"),
        ("certs", "\\-\\-mutating"),
        ("completions", "zsh"),
        ("man", "\\-\\-directory"),
    ] {
        let page = fs::read_to_string(path.join(format!("drainhook-{command}.1"))).unwrap();
        let name = format!(".SH NAME\ndrainhook\\-{command} \\- ");
        assert!(page.contains(&name), "{page}");
        let version = concat!("\"drainhook ", env!("CARGO_PKG_VERSION"), "\"");
        let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(title.contains(version), "{title}");
        assert!(page.contains(option), "{command}: no {option} in\n{page}");
        assert!(run.out.contains(&format!("drainhook\\-{command}(1)")));
    }
    assert!(path.join("drainhook.1").exists());
    let missing = drainhook(&["man", "--directory", "/proc/no-such"]);
    assert_eq!(missing.status, 74, "{missing:?}");
}
