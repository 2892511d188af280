//! `drainhook man`: the manual, from the same definitions as `--help`.

use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::completions::print;
use super::exit::{Exit, Failure};

/// Print the manual page, or write one page per command
///
/// `drainhook man | man -l -` shows it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Write `drainhook.1`, `drainhook-inject.1` and so on into this directory
    #[arg(long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self, command: Command) -> Result<Exit, Failure> {
        let fault = |error: io::Error| Failure::new(Exit::Write, error.to_string());
        match self.directory {
            Some(directory) => {
                let mut command = command.disable_help_subcommand(true);
                // Names the commands in full: `drainhook-inject`.
                command.build();
                pages(&command, &directory).map_err(|error| {
                    Failure::new(Exit::Write, format!("{}: {error}", directory.display()))
                })?;
                Ok(Exit::Done)
            }
            None => {
                let mut page = Vec::new();
                Man::new(command).render(&mut page).map_err(fault)?;
                print(&page)
            }
        }
    }
}

/// A page for a command and for each below it. Only the first knows its version, and it is the version
/// of all of them.
fn pages(command: &Command, directory: &Path) -> io::Result<()> {
    for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        pages(one, directory)?;
    }
    Man::new(command.clone())
        .source(concat!("drainhook ", env!("CARGO_PKG_VERSION")))
        .generate_to(directory)?;
    Ok(())
}
