//! A bell made of an eventfd: any thread rings it, and a parked shard wakes.
//!
//! Ringing is one write. A ring that comes before the wait is kept in the eventfd, so it is never
//! lost; whoever wakes clears the bell first and looks at its inbox afterwards.
#![forbid(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{EventfdFlags, eventfd};

use crate::io::Bell;

/// A [`Bell`] that works with every kernel of this module. Shared as an `Arc`.
#[derive(Debug)]
pub struct EventBell {
    eventfd: OwnedFd,
}

impl EventBell {
    /// Makes a bell that has not been rung. Fails only where file descriptors or memory ran out.
    pub fn new() -> io::Result<EventBell> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(EventBell { eventfd })
    }

    /// Forgets that the bell was rung.
    pub(super) fn clear(&self) {
        // The only error is EAGAIN: nobody has rung.
        let _ = rustix::io::read(&self.eventfd, &mut [0u8; 8]);
    }
}

impl Bell for EventBell {
    fn ring(&self) {
        // The only error is EAGAIN: it was rung 2^64 - 2 times and still is.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

impl AsFd for EventBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
