//! `drainhook completions`: completions for shells.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;

use super::exit::{Exit, Failure};

/// Print the completions for a shell
///
/// For bash: `drainhook completions bash > /etc/bash_completion.d/drainhook`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(super) fn run(self, command: &mut Command) -> Result<Exit, Failure> {
        // Into memory first: the generator panics where it cannot write, say into a closed pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "drainhook", &mut script);
        print(&script)
    }
}

/// Writes to standard output; a closed pipe is nobody's fault.
pub(super) fn print(bytes: &[u8]) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Write,
            format!("standard output: {error}"),
        )),
        _ => Ok(Exit::Done),
    }
}
