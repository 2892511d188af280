//! The binary `drainhook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    drainhook_webhook::cli::run(std::env::args_os())
}
