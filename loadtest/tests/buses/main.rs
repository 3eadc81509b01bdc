//! Runs that publish through a bus: the real load tester, a real edge that reads the bus, and a real
//! broker between them.
//!
//! Each test starts its own broker and edge and ends them. Nothing here measures time.
#![forbid(unsafe_code)]

#[path = "../../../tests/buses/broker.rs"]
mod broker;
mod brokers;
mod faults;
mod runs;

#[allow(dead_code, reason = "shared with the server's tests, which use all of it")]
#[path = "../../../tests/e2e/support/folder.rs"]
mod folder;
#[allow(dead_code, reason = "shared with tests/e2e, which uses all of it")]
#[path = "../e2e/run.rs"]
mod run;
#[allow(dead_code, reason = "shared with tests/e2e, which uses all of it")]
#[path = "../support/stentor.rs"]
mod stentor;

/// What the brokers' tests of the server share with these.
mod support {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    pub use crate::{folder::Folder, run::DEADLINE};

    /// Looks again and again until there is something.
    #[track_caller]
    pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "it never happened that {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
