//! The few arguments of a bench: `--name value`, or `--name` alone.

use std::{env, fmt::Debug, str::FromStr};

/// The value behind `--name`, or the default.
pub fn value<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    let mut arguments = env::args().skip_while(|argument| argument != name).skip(1);
    match arguments.next() {
        Some(text) => text.parse().unwrap_or_else(|error| panic!("{name} {text}: {error:?}")),
        None => default,
    }
}

/// Whether `--name` was given.
pub fn has(name: &str) -> bool {
    env::args().any(|argument| argument == name)
}

/// Whether this is to show that the bench works and not to measure. `cargo bench` says `--bench`;
/// `cargo test --benches` does not.
pub fn is_quick() -> bool {
    has("--quick") || has("--test") || !has("--bench")
}
