//! What a ring may be asked for once it is open: what a shard asks it, and nothing else.
//!
//! Whoever should come to write into a ring's queue could then do no more than the server does.
#![forbid(unsafe_code)]

use io_uring::{IoUring, Probe, opcode, register::Restriction};

/// Requests that a shard makes.
const REQUESTS: [u8; 11] = [
    opcode::Accept::CODE,
    opcode::AsyncCancel::CODE,
    opcode::Close::CODE,
    opcode::FilesUpdate::CODE,
    opcode::FixedFdInstall::CODE,
    opcode::PollAdd::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::Shutdown::CODE,
    opcode::Timeout::CODE,
    opcode::UringCmd16::CODE,
];

/// `IOSQE_FIXED_FILE` and `IOSQE_CQE_SKIP_SUCCESS`.
const FLAGS: u8 = 1 | 1 << 6;

/// `IORING_REGISTER_EVENTFD`, by which several rings of one shard call it.
const REGISTER_EVENTFD: u8 = 4;

/// Restricts a ring that was set up disabled. Says whether the kernel took it.
pub(super) fn restrict(uring: &IoUring) -> bool {
    let mut probe = Probe::new();
    if uring.submitter().register_probe(&mut probe).is_err() {
        return false;
    }
    // A kernel refuses the whole list for a request that it does not know.
    let known = REQUESTS.into_iter().filter(|&request| probe.is_supported(request));
    let mut allowed: Vec<Restriction> = known.map(Restriction::sqe_op).collect();
    allowed.push(Restriction::sqe_flags_allowed(FLAGS));
    allowed.push(Restriction::register_op(REGISTER_EVENTFD));
    uring.submitter().register_restrictions(&mut allowed).is_ok()
}
