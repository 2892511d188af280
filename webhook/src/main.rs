//! The binary `drainhook`.

use std::process::ExitCode;

/// With the static binary, which is what the image holds: every allocation of musl's own allocator takes
/// one lock. Its settings are in `.cargo/config.toml`.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    drainhook_webhook::cli::run(std::env::args_os())
}
