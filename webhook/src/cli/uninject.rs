//! `drainhook uninject`: takes injections back.

use super::exit::{Exit, Failure};
use super::inject::rewrite_all;
use super::input::InputArgs;
use super::output::OutputArgs;
use super::rewrite;

/// Take the drain out of manifests again
///
/// Where nobody has touched what `inject` wrote, the result is what was there before, byte for
/// byte. What somebody has changed since stays, and is named in a warning.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    output: OutputArgs,

    /// Say nothing on standard error but what is wrong
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let manifests = self.input.read()?;
        rewrite_all(
            &manifests,
            rewrite::take_back,
            self.output,
            self.quiet,
            NOBODY_HAS_ONE,
        )
    }
}

/// What is said where there are pods, and nothing of any of them.
const NOBODY_HAS_ONE: &str = "no pod has a drain of drainhook: nothing was taken back";
