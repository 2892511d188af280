//! `make demo`: two Envoy pods rolled under load, without a hook, with a sleep, and with drainhook.

mod arguments;
mod chart;
mod progress;
mod show;
mod svg;
mod table;
mod timeline;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shown = tokio::select! {
        shown = show::run(&arguments) => shown,
        // Dropping what runs ends its processes.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
