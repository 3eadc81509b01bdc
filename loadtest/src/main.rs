//! The `stentor-loadtest` program.
#![forbid(unsafe_code)]

fn main() {}
