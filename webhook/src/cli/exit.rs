//! How a command ends. The numbers above 1 are those of `sysexits.h`.

use std::process::ExitCode;

/// The exit status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All went well.
    Done = 0,
    /// A manifest is refused, or is not YAML or JSON.
    Refused = 1,
    /// The command line or the defaults are wrong (`EX_USAGE`).
    Usage = 64,
    /// A file cannot be read (`EX_NOINPUT`).
    NoInput = 66,
    /// The cluster does not answer (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A fault of ours (`EX_SOFTWARE`).
    Software = 70,
    /// The result cannot be written (`EX_IOERR`).
    Write = 74,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did nothing: every fault that was found, each a message of its own.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) messages: Vec<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            messages: vec![message.into()],
        }
    }
}
