//! `shutdown-manager`: see the library of this crate.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    // Text that is not UTF-8 cannot be a setting of ours; what cannot be read is then told as wrong.
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let arguments = env::args_os().skip(1).map(text);
    let environment = env::vars_os().map(|(name, value)| (text(name), text(value)));
    shutdown_manager::run(arguments, environment).into()
}
