//! The `stentor` program: the server, and what an operator needs beside it.
#![forbid(unsafe_code)]

mod cli;

use std::{env, process::ExitCode};

/// Millions of small, long-lived allocations of few sizes, freed on the thread that made them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(env::args_os())
}
