//! Runs the binary.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `drainhook ARGUMENTS` with nothing on standard input.
pub(crate) fn drainhook(arguments: &[&str]) -> Run {
    piped(arguments, "")
}

/// Runs `drainhook ARGUMENTS` in a directory.
pub(crate) fn drainhook_in(directory: &Path, arguments: &[&str]) -> Run {
    run(
        Command::new(env!("CARGO_BIN_EXE_drainhook"))
            .current_dir(directory)
            .args(arguments),
        "",
    )
}

/// Runs `drainhook ARGUMENTS` with `input` on standard input.
pub(crate) fn piped(arguments: &[&str], input: &str) -> Run {
    run(
        Command::new(env!("CARGO_BIN_EXE_drainhook")).args(arguments),
        input,
    )
}

fn run(command: &mut Command, input: &str) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that reads nothing closes its end, and that is fine.
    let feed = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    Run {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A pod that asks for a drain.
pub(crate) const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: edge
  annotations:
    drainhook.io/inject: \"true\"
spec:
  containers:
  - name: envoy # the proxy
    image: envoyproxy/envoy:v1.36.2
";

/// A pod that cannot have one, for two reasons.
pub(crate) const REFUSED: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: wrong
  annotations:
    drainhook.io/inject: \"true\"
    drainhook.io/quite: 3s
    drainhook.io/port: \"80\"
spec:
  containers:
  - name: envoy
    image: envoyproxy/envoy:v1.36.2
";
