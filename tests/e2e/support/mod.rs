//! What the scenarios have in common: a server under test, plain clients, an oracle's dice.

mod folder;
mod poller;
mod press;
mod publisher;
mod reader;
mod server;
mod streams;
mod stubborn;
mod subscriber;
mod talk;
pub mod tools;
mod wire;

pub use folder::Folder;
pub use poller::{Poll, Poller};
pub use press::{Book, Press};
pub use publisher::{Publisher, post};
pub use reader::{Item, Reader, Via};
pub use server::{Io, Server, refused_start, stentor, through, wait};
pub use streams::Streams;
pub use stubborn::{Follows, Seen, Stubborn, Whereabouts, follow};
pub use subscriber::{Event, Gap, Kind, Received, Subscriber, masked};
pub use talk::Talk;
pub use tools::{Running, browser, kosoku, python, run, seccomp_launcher, tool};
pub use wire::{Answer, Head, Wire, ask, upgrade};

use std::time::{Duration, Instant};

/// No test waits longer for anything. Passing it means that what was to come never came.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Looks again and again until there is something, since the server says when it got there, not
/// when it will.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never happened that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What follows the hint in an event stream's first block of when to come back.
#[track_caller]
pub fn behind_hint(block: &str) -> &str {
    let (hint, rest) = block.split_once('\n').expect("lines");
    let hint = hint.strip_prefix("retry: ").and_then(|hint| hint.parse().ok());
    assert!(hint.is_some_and(|ms: u32| (3000..6000).contains(&ms)), "{block}");
    rest
}

/// Those who are turned away are told to come back after so many seconds, or up to as many more.
#[track_caller]
pub fn check_retry_after(head: &Head, seconds: u64) -> u64 {
    let told = head.get("Retry-After").and_then(|told| told.parse().ok()).expect("seconds");
    assert!((seconds..2 * seconds).contains(&told), "{told} {seconds}");
    told
}

/// Seeded dice: a failure names the seed, and the seed repeats the throws.
pub struct Dice(u64);

impl Dice {
    /// The same seed throws the same.
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}
