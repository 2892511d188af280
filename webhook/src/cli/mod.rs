//! The command line: `drainhook inject`, `uninject`, `check`, `verify`, completions and the man page.
//!
//! Each subcommand has its own module with its own `Args`. The same engine decides here and in
//! the webhook; what is here reads files, edits them by place, and explains.

mod check;
mod completions;
mod defaults;
mod diff;
mod exit;
mod inject;
mod input;
mod installation;
mod man;
mod output;
mod rewrite;
mod survey;
mod uninject;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;
pub use rewrite::{inject_text, uninject_text};

use crate::{publish::CertsArgs, serve::ServeArgs};

/// Gives pods that run Envoy a drain: no client sees an error when they are rolled out.
#[derive(Debug, Parser)]
#[command(name = "drainhook", version, arg_required_else_help = true, after_help = EXIT_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inject(inject::Args),
    Uninject(uninject::Args),
    Check(check::Args),
    Verify(verify::Args),
    Serve(Box<ServeArgs>),
    Certs(CertsArgs),
    Completions(completions::Args),
    Man(man::Args),
}

const EXIT_HELP: &str = "\
Exit status:
  0   done
  1   a manifest is refused, or cannot be read as YAML or JSON; nothing was written
  64  the command line is wrong, or the defaults are
  66  a file cannot be read
  69  the cluster, or for `serve` and `certs` a port or something else of the system, is not to be had
  70  a fault of drainhook; nothing was written
  74  the result cannot be written";

/// Runs the command line `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for and go to standard output.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return match error.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Write.into(),
            };
        }
    };
    let done = match cli.command {
        Command::Inject(args) => args.run(),
        Command::Uninject(args) => args.run(),
        Command::Check(args) => args.run(),
        Command::Verify(args) => args.run(),
        // It has a log of its own and exit statuses of its own.
        Command::Serve(args) => return args.run(),
        Command::Certs(args) => return args.run(),
        Command::Completions(args) => args.run(&mut Cli::command()),
        Command::Man(args) => args.run(Cli::command()),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            for message in &failure.messages {
                eprintln!("drainhook: {message}");
            }
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_under_the_heading_that_they_belong_to() {
        let mut cli = Cli::command();
        cli.build();
        for (command, options) in [
            ("inject", &["quiet", "diff", "in_place", "color"][..]),
            ("check", &["strict", "all", "output", "color", "cluster"]),
        ] {
            let command = cli.find_subcommand(command).unwrap();
            for option in command.get_arguments() {
                let heading = option.get_help_heading();
                if options.contains(&option.get_id().as_str()) {
                    assert_eq!(heading, None, "{option}");
                } else if ["defaults_from", "namespace"].contains(&option.get_id().as_str()) {
                    assert_eq!(heading, Some("Installation and cluster"), "{option}");
                }
            }
        }
    }

    #[test]
    fn the_definitions_of_all_commands_hold_together() {
        Cli::command().debug_assert();
    }
}
