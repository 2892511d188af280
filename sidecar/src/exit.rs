//! Exit codes, as sysexits(3) has them where it has one.

/// Done, and for `shutdown`: drained.
pub const OK: u8 = 0;
/// For `shutdown`: not drained.
pub const NOT_DRAINED: u8 = 1;
/// The configuration is wrong.
pub const USAGE: u8 = 64;
/// The port is in use, or for `shutdown`: nobody answers.
pub const UNAVAILABLE: u8 = 69;
/// The system did not let us.
pub const OS_ERROR: u8 = 71;
