//! One suite for every kernel that has real sockets: the same promises, over loopback.
//!
//! Method: a rig opens a kernel, the tests drive it through the trait alone and compare with
//! ordinary blocking clients, byte for byte and event for event. Time is never asserted; a
//! deadline only keeps a failing test from hanging.

use std::{io, os::fd::OwnedFd, sync::Arc};

use crate::{
    ids::Slot,
    io::{
        Kernel,
        bell::EventBell,
        epoll::Epoll,
        uring::{Setup, Uring},
    },
    limits::{COMPLETION_ENTRIES, SUBMISSION_ENTRIES},
};

mod bench;
mod closing;
mod listeners;
mod receiving;
mod sending;
mod tables;

/// A kernel under test.
trait Rig {
    type Kernel: Kernel;

    fn open(slots: u32, listeners: Vec<OwnedFd>, bell: Arc<EventBell>) -> Self::Kernel;

    fn adopt(kernel: &mut Self::Kernel, socket: OwnedFd) -> io::Result<Slot>;
}

/// io_uring, everything in one ring.
struct OneRing;
/// io_uring, three slots per ring.
struct ManyRings;
/// io_uring with queues so small that batches are split and completions overflow.
struct TinyQueues;
/// io_uring with both: many rings, tiny queues.
struct ManyTinyQueues;
/// io_uring as it is before 6.13: a shutdown comes before each close.
struct SlowClose;
/// epoll.
struct OnEpoll;

fn open(setup: Setup, listeners: Vec<OwnedFd>, bell: Arc<EventBell>) -> Uring {
    Uring::open(&setup, listeners, bell).expect("io_uring is needed for these tests")
}

fn setup(slots: u32, slots_per_ring: u32, queues: (u32, u32)) -> Setup {
    let (submission_entries, completion_entries) = queues;
    Setup { slots, slots_per_ring, submission_entries, completion_entries }
}

const FULL: (u32, u32) = (SUBMISSION_ENTRIES, COMPLETION_ENTRIES);
const TINY: (u32, u32) = (4, 8);

macro_rules! uring_rig {
    ($rig:ident, $setup:expr) => {
        impl Rig for $rig {
            type Kernel = Uring;

            fn open(slots: u32, listeners: Vec<OwnedFd>, bell: Arc<EventBell>) -> Uring {
                open($setup(slots), listeners, bell)
            }

            fn adopt(kernel: &mut Uring, socket: OwnedFd) -> io::Result<Slot> {
                kernel.adopt(socket)
            }
        }
    };
}

uring_rig!(OneRing, |slots| setup(slots, slots, FULL));
uring_rig!(ManyRings, |slots: u32| setup(slots, 3.max(slots / 20), FULL));
uring_rig!(TinyQueues, |slots| setup(slots, slots, TINY));
uring_rig!(ManyTinyQueues, |slots: u32| setup(slots, 3.max(slots / 20), TINY));

impl Rig for SlowClose {
    type Kernel = Uring;

    fn open(slots: u32, listeners: Vec<OwnedFd>, bell: Arc<EventBell>) -> Uring {
        let mut kernel = OneRing::open(slots, listeners, bell);
        kernel.close_like_before_6_13();
        kernel
    }

    fn adopt(kernel: &mut Uring, socket: OwnedFd) -> io::Result<Slot> {
        kernel.adopt(socket)
    }
}

impl Rig for OnEpoll {
    type Kernel = Epoll;

    fn open(slots: u32, listeners: Vec<OwnedFd>, bell: Arc<EventBell>) -> Epoll {
        Epoll::open(slots, listeners, bell).unwrap()
    }

    fn adopt(kernel: &mut Epoll, socket: OwnedFd) -> io::Result<Slot> {
        kernel.adopt(socket)
    }
}

/// Makes a test per rig of each generic function named.
macro_rules! on_every_kernel {
    ($($test:ident)*) => {
        mod one_ring { $(#[test] fn $test() { super::$test::<crate::io::conformance::OneRing>() })* }
        mod many_rings { $(#[test] fn $test() { super::$test::<crate::io::conformance::ManyRings>() })* }
        mod tiny_queues { $(#[test] fn $test() { super::$test::<crate::io::conformance::TinyQueues>() })* }
        mod many_tiny_queues { $(#[test] fn $test() { super::$test::<crate::io::conformance::ManyTinyQueues>() })* }
        mod slow_close { $(#[test] fn $test() { super::$test::<crate::io::conformance::SlowClose>() })* }
        mod on_epoll { $(#[test] fn $test() { super::$test::<crate::io::conformance::OnEpoll>() })* }
    };
}
use on_every_kernel;
