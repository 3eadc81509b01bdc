//! The `stentor-loadtest` program.
#![forbid(unsafe_code)]

use std::{env, process::ExitCode};

use stentor_loadtest::{
    cli::{self, Command},
    program,
};

/// Small allocations of many threads, most of them freed at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before the tables are made: in pages of 2 MiB a table that fills slowly is resident at once.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match cli::parse(env::args_os()) {
        Ok(Command::Print(text)) => program::print(&text),
        Ok(Command::Agent(agent)) => program::agent(&agent),
        Ok(Command::Run(run)) => program::run(&run),
        Err(stop) => stop.report(),
    }
}
