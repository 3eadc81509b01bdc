//! Batches: sends, receives and single calls that are over when the function returns.
//!
//! With `MSG_DONTWAIT` the kernel finishes a send or receive while it consumes it, one way or the
//! other: it neither waits for the socket nor hands the request to a worker. So once every entry
//! is consumed the kernel reads and writes no memory of ours. With `MSG_WAITALL` a send that stops
//! early fails with the exact count, and a failed request posts its completion although
//! `SKIP_SUCCESS` is set; sends that take everything post nothing. The start-up self-test proves
//! that the running kernel does so.

use io_uring::{
    opcode,
    squeue::{Entry, Flags},
    types::Fixed,
};

use crate::{
    ids::Slot,
    io::{
        Exception, Outcome, Received, Send,
        uring::{
            ring::Ring,
            user_data::{Kind, UserData},
        },
    },
    limits::{KERNEL_SEND_BYTES_MAX, RECEIVE_BATCH, RECEIVE_BYTES},
};

/// Which entries of a batch: one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Members(u64);

impl Members {
    pub(super) fn first(count: usize) -> Members {
        assert!(count <= u64::BITS as usize, "a batch of {count} is too large");
        Members(1u64.checked_shl(count as u32).unwrap_or(0).wrapping_sub(1))
    }

    /// Takes the first member and those after it that share its ring, at most `most`.
    pub(super) fn take_ring(&mut self, most: usize, ring_of: impl Fn(usize) -> usize) -> Members {
        let Some(first) = self.iter().next() else { return Members(0) };
        let ring = ring_of(first);
        let taken = self.iter().filter(|&index| ring_of(index) == ring).take(most);
        let taken = Members(taken.fold(0, |bits, index| bits | 1 << index));
        self.0 &= !taken.0;
        taken
    }

    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = (left != 0).then_some(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(index)
        })
    }
}

/// What became of each receive of a batch: the kernel's answer, or `None` before it came.
pub(super) type Results = [Option<i32>; RECEIVE_BATCH];

impl Ring {
    /// Entries that one submission of this ring may hold, so that all its answers find room.
    pub(super) fn batch_max(&self) -> usize {
        let parameters = self.uring.params();
        parameters.sq_entries().min(parameters.cq_entries()) as usize
    }

    /// Sends the members of the batch, all of which are this ring's. `base` is its first slot.
    /// Per send that takes all: one entry written, no answer read.
    pub(super) fn send(
        &mut self,
        sends: &[Send<'_>],
        members: Members,
        base: u32,
        exceptions: &mut Vec<Exception>,
    ) {
        for send in sends {
            // A longer one posts nothing when the kernel has cut it, so it must never be made.
            assert!(send.bytes.len() <= KERNEL_SEND_BYTES_MAX, "above KERNEL_SEND_BYTES_MAX");
            debug_assert!(!send.bytes.is_empty(), "a send of nothing");
        }
        self.make_room();
        exceptions.reserve(members.count());
        // From the first push to the end of `settle` nothing can unwind.
        for index in members.iter() {
            let entry = send_entry(&sends[index], base, index);
            // SAFETY: `sends` borrows the bytes until this function returns, and it does not
            // return before `settle` has seen the kernel consume the entry. That ends the send
            // (see the module's comment), so the kernel reads the bytes no more. If the kernel
            // refuses to consume it, `settle` tries on or ends the process; it never unwinds.
            unsafe { self.push(&entry) };
        }
        self.settle(&mut |index, result| {
            let wanted = sends.get(index).map_or(0, |send| send.bytes.len());
            if let Some(outcome) = outcome(result, wanted) {
                exceptions.push(Exception { index, outcome });
            }
        });
    }

    /// Receives for the members of the batch, all of which are this ring's, each into its own part
    /// of `scratch`.
    pub(super) fn receive(
        &mut self,
        slots: &[Slot],
        members: Members,
        base: u32,
        scratch: &mut [u8],
        results: &mut Results,
    ) {
        self.make_room();
        assert!(scratch.len() >= slots.len() * RECEIVE_BYTES && slots.len() <= RECEIVE_BATCH);
        let parts = scratch.as_mut_ptr();
        for index in members.iter() {
            // SAFETY: below the length of `scratch`, as asserted above.
            let part = unsafe { parts.add(index * RECEIVE_BYTES) };
            let entry = receive_entry(slots[index], part, base, index);
            // SAFETY: `scratch` is borrowed mutably until this function returns, nothing else
            // touches it meanwhile, and every receive is answered before that (below).
            unsafe { self.push(&entry) };
        }
        let mut missing = members.count();
        while missing > 0 {
            self.settle(&mut |index, result| {
                results[index % RECEIVE_BATCH] = Some(result);
                missing = missing.saturating_sub(1);
            });
        }
    }

    /// Makes one request and returns its answer.
    ///
    /// # Safety
    ///
    /// What the entry points to must stay valid until this returns, and it must be a request that
    /// the kernel answers without waiting for anybody.
    pub(super) unsafe fn call(&mut self, entry: Entry) -> i32 {
        self.make_room();
        let entry = entry.user_data(UserData::new(Kind::Batch, 0, 0).0);
        // SAFETY: the caller's promise; this does not return before the answer is here.
        unsafe { self.push(&entry) };
        let mut answer = None;
        while answer.is_none() {
            self.settle(&mut |_, result| answer = Some(result));
        }
        answer.unwrap_or(-libc::EIO)
    }
}

/// What the kernel's answer to a receive means.
pub(super) fn received(result: Option<i32>, part: &[u8]) -> Received<'_> {
    match result.unwrap_or(-libc::EIO) {
        0 => Received::End,
        count if count > 0 => Received::Bytes(&part[..part.len().min(count as usize)]),
        result if [-libc::EAGAIN, -libc::EINTR].contains(&result) => Received::Nothing,
        _ => Received::Broken,
    }
}

/// What the kernel's answer to a send means. `None`: it took everything.
fn outcome(result: i32, wanted: usize) -> Option<Outcome> {
    match usize::try_from(result) {
        Ok(sent) if sent >= wanted => None,
        Ok(sent) => Some(Outcome::Short(sent)),
        Err(_) if [-libc::EAGAIN, -libc::EINTR].contains(&result) => Some(Outcome::Short(0)),
        Err(_) => Some(Outcome::Broken),
    }
}

fn send_entry(send: &Send<'_>, base: u32, index: usize) -> Entry {
    let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    let (bytes, length) = (send.bytes.as_ptr(), send.bytes.len() as u32);
    opcode::Send::new(Fixed(send.slot.0 - base), bytes, length)
        .flags(flags)
        .build()
        .flags(Flags::SKIP_SUCCESS)
        .user_data(UserData::new(Kind::Batch, 0, index as u32).0)
}

fn receive_entry(slot: Slot, part: *mut u8, base: u32, index: usize) -> Entry {
    opcode::Recv::new(Fixed(slot.0 - base), part, RECEIVE_BYTES as u32)
        .flags(libc::MSG_DONTWAIT)
        .build()
        .user_data(UserData::new(Kind::Batch, 0, index as u32).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches are split by ring, in order, and nobody is left out.
    #[test]
    fn a_batch_is_taken_ring_by_ring() {
        let rings = [0, 1, 0, 2, 1, 0];
        let mut left = Members::first(rings.len());
        let mut taken = Vec::new();
        while left.count() > 0 {
            taken.push(left.take_ring(2, |index| rings[index]).iter().collect::<Vec<_>>());
        }
        assert_eq!(taken, [vec![0, 2], vec![1, 4], vec![3], vec![5]]);
        assert_eq!(Members::first(64).count(), 64);
        assert_eq!(Members::first(0).count(), 0);
    }

    /// Every kind of answer to a send is told apart.
    #[test]
    fn answers_to_sends_are_told_apart() {
        assert_eq!(outcome(10, 10), None);
        assert_eq!(outcome(9, 10), Some(Outcome::Short(9)));
        assert_eq!(outcome(-libc::EAGAIN, 10), Some(Outcome::Short(0)));
        assert_eq!(outcome(-libc::EPIPE, 10), Some(Outcome::Broken));
        assert_eq!(outcome(i32::MIN, 10), Some(Outcome::Broken));
    }
}
