//! Descriptors that this process was started with.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// The first descriptor behind the standard ones, at which whoever starts a process passes others.
const FIRST: RawFd = 3;

/// Takes over the `count` descriptors that were passed, in their order. Those that are not open are
/// left out. No process that we start gets them.
///
/// To be called once, before anything else is opened: a second call would own them twice.
pub fn inherited(count: u16) -> Vec<OwnedFd> {
    let numbers = FIRST..FIRST + RawFd::from(count);
    let is_open = |fd: &RawFd| std::fs::exists(format!("/proc/self/fd/{fd}")).unwrap_or(false);
    numbers
        .filter(is_open)
        .map(|fd| {
            // SAFETY: it is open, and nobody else in this process owns it: it was opened before the
            // process began, which was told so by its environment, and this is called once.
            let owned = unsafe { OwnedFd::from_raw_fd(fd) };
            let _ = fcntl_setfd(&owned, FdFlags::CLOEXEC);
            owned
        })
        .collect()
}
