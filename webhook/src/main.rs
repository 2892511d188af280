//! The binary `drainhook`.
fn main() {}
