//! The kernel, behind one trait: connections as numbered slots, sends and receives that are tries.
//!
//! Three kernels: [`uring`] is the engine, [`epoll`] has the same semantics where io_uring is
//! forbidden, [`sim`] is a seeded fake for tests. A shard takes one as a type parameter.
//!
//! What every kernel promises:
//! - A send or receive is finished, one way or the other, when the call returns. No memory of the
//!   caller is ever borrowed by the kernel between calls.
//! - Events speak of the connection that is in the slot now, never of one that was there before.
//! - A slot is handed out again only after [`Event::Closed`] was reported for it.
//!
//! Left to the shard: what bytes mean, who is owed what, and when to give up on a peer.

use std::{io, net::SocketAddr, time::Duration};

use crate::ids::Slot;

pub mod bell;
pub mod dial;
pub mod epoll;
pub mod inherit;
pub mod probe;
pub mod sim;
pub mod uring;

#[cfg(test)]
mod conformance;

/// What one connection is to be sent in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// The connection.
    pub slot: Slot,
    /// Never empty.
    pub bytes: &'a [u8],
}

/// A send of a batch that did not take all its bytes. Whatever is not named went out whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Which send of the batch.
    pub index: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a send that did not take all its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The socket took this many of the bytes, perhaps none or all, and is full.
    Short(usize),
    /// The connection is broken. No bytes count as sent.
    Broken,
}

/// What a try to receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Bytes, at least one. If they fill [`RECEIVE_BYTES`](crate::limits::RECEIVE_BYTES) there
    /// may be more.
    Bytes(&'a [u8]),
    /// Nothing is there now.
    Nothing,
    /// The peer has finished sending.
    End,
    /// The connection is broken.
    Broken,
}

/// Which readiness a one-shot poll waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read, or the end, or an error.
    Read,
    /// A full socket has room again, or an error. That the peer has finished sending is neither.
    Write,
}

/// Which of its listeners a connection came to: the place of that among those that the kernel was
/// given. A connection that was put into its slot by hand counts as one of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener(pub u8);

/// What the kernel has to tell a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new connection in this slot, from this listener. Nothing is armed on it.
    Accepted(Slot, Listener),
    /// The read poll fired, once. Arm it again to hear more.
    Readable(Slot),
    /// The write poll fired, once.
    Writable(Slot),
    /// The connection that was closed is gone and its slot may be handed out again.
    Closed(Slot),
}

/// A shard's connections and the kernel behind them. Owned and used by one thread.
pub trait Kernel {
    /// Slots in the table: every [`Slot`] is below this.
    fn slots(&self) -> u32;

    /// Starts or stops accepting. Stopping leaves the listeners open: what waits in their
    /// backlogs waits on. Accepts that were under way may still report [`Event::Accepted`].
    fn set_accepting(&mut self, accepting: bool);

    /// Arms a one-shot poll. At most one per slot and interest: arming one that is armed already
    /// changes nothing.
    fn poll(&mut self, slot: Slot, interest: Interest);

    /// Tries to receive from each connection and tells what came, once for each, in any order.
    /// `slots` is at most [`RECEIVE_BATCH`](crate::limits::RECEIVE_BATCH), no slot twice.
    fn receive_batch(&mut self, slots: &[Slot], told: &mut dyn FnMut(Slot, Received<'_>));

    /// Tries to send to each connection. Appends an [`Exception`] for each send that did not take
    /// all its bytes, in any order; `exceptions` is otherwise left as it is.
    /// `sends` is at most [`SEND_BATCH`](crate::limits::SEND_BATCH), no slot twice. Events that
    /// turn up meanwhile are kept for [`Kernel::events`].
    fn send_batch(&mut self, sends: &[Send<'_>], exceptions: &mut Vec<Exception>);

    /// Tells the peer that nothing more will be sent (`SHUT_WR`); reading goes on.
    fn shutdown(&mut self, slot: Slot);

    /// Closes the connection, cancelling its polls. Later calls of [`Kernel::events`] report
    /// nothing of it but [`Event::Closed`]; what an earlier call reported may still lie with the
    /// caller.
    fn close(&mut self, slot: Slot);

    /// The peer's address, where the kernel can tell.
    fn peer(&mut self, slot: Slot) -> Option<SocketAddr>;

    /// Bytes in memory of ours that a kernel in front of the kernel keeps for this connection.
    fn kept(&self, _slot: Slot) -> usize {
        0
    }

    /// Appends what has happened since the last call. Does not wait.
    fn events(&mut self, events: &mut Vec<Event>);

    /// Waits until something has happened, the shard's [`Bell`] was rung, or `timeout` is over
    /// (`None`: for ever). May return early. Call [`Kernel::events`] afterwards.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;
}

/// Wakes a shard that is parked in [`Kernel::wait`], from any thread.
pub trait Bell: std::marker::Send + Sync {
    /// Makes the current or the next wait return. Ringing twice is like ringing once.
    fn ring(&self);
}
