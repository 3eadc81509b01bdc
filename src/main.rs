//! The `stentor` program: the server, and what an operator needs beside it.
#![forbid(unsafe_code)]

mod cli;

use std::{env, process::ExitCode};

/// Millions of small, long-lived allocations of few sizes, freed on the thread that made them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before the tables are made. The heap is a few tables walked in order and small things that
    // come and go; in pages of 2 MiB each keeps what its neighbours have given back (38 MB resident
    // for an empty server, 19 without), and no delivery is cheaper for it.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cli::run(env::args_os())
}
