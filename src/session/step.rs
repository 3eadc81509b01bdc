//! What passes between a session and its shard, besides bytes.

use bytes::Bytes;

use crate::{
    close::CloseReason,
    frame::{Format, PayloadKind},
    ids::{ChannelName, Position},
    mesh::{Rejected, Terms},
    resume::{Gap, Start},
    shield::Excess,
    wire::{forwarded::Client, json},
};

/// What the shard is to do next, after flushing what was appended to `out`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing more to do; wait for input or the deadline.
    Wait,
    /// The request came by way of a trusted proxy, for this client: decide whether it may ask, and call
    /// [`Session::on_told`](super::Session::on_told), or end it.
    Ask(Client),
    /// The request for one channel is accepted. Subscribe, and call
    /// [`Session::on_live`](super::Session::on_live) when the subscription is live; nothing may be
    /// sent before.
    Subscribe {
        /// What to.
        channel: ChannelName,
        /// How the subscriber reads it.
        format: Format,
        /// Where the subscription begins.
        start: Start,
    },
    /// Take what the session asks for with [`Session::next_call`](super::Session::next_call) until
    /// there is none, and again after each answer: what is about one channel is called for one
    /// after the other.
    Call,
    /// The long-poll is answered: leave the channel. Once `out` has left, the connection is read on.
    Unsubscribe,
    /// Take what was published with [`Session::next_call`](super::Session::next_call), and answer
    /// nothing. Flush `out`, then finish sending (`SHUT_WR`), read and discard until the end or the closing
    /// time-out, then close.
    Finish(CloseReason),
    /// Close at once.
    Drop(CloseReason),
}

/// What a session of several channels asks of its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// To be answered with [`Session::on_subscribed`](super::Session::on_subscribed) or
    /// [`Session::on_refused`](super::Session::on_refused).
    Subscribe {
        /// What to.
        channel: ChannelName,
        /// How the subscriber reads it; the same in all calls of a session.
        format: Format,
        /// Where the subscription begins.
        start: Start,
    },
    /// To be answered with [`Session::on_unsubscribed`](super::Session::on_unsubscribed) or
    /// [`Session::on_refused`](super::Session::on_refused).
    Unsubscribe {
        /// What from.
        channel: ChannelName,
    },
    /// To be answered with [`Session::on_answered`](super::Session::on_answered).
    Publish {
        /// Comes back in the answer.
        ticket: u32,
        /// Where it is published.
        channel: ChannelName,
        /// What the payload is.
        kind: PayloadKind,
        /// The payload.
        payload: Bytes,
        /// What else its publisher asks for, if anything.
        terms: Option<Box<Terms>>,
    },
    /// To be counted: the peer was refused what was too much. Is not answered.
    Report(Excess),
}

/// How a session's publications are sent, once it subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It has none.
    Nothing,
    /// The shard sends the encoded frames as they are.
    Shared(Format),
    /// The session writes each, from a frame in this format.
    Composed(Format),
}

/// One publication for a session that writes its own.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The channel.
    pub channel: &'a ChannelName,
    /// Where it stands in its channel.
    pub position: Position,
    /// What the payload is.
    pub kind: PayloadKind,
    /// The encoded frame, in the format that the session reads.
    pub frame: &'a [u8],
}

impl Delivery<'_> {
    /// The gap that stands in place of a publication, if one does.
    pub fn gap(&self) -> Option<Gap> {
        let from = (self.kind == PayloadKind::Gap).then(|| json::gap_from(self.frame))??;
        Some(Gap { from, to: self.position })
    }
}

/// Why a call was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many channels as there may be.
    TooManyChannels,
    /// This connection reads the channel already.
    AlreadySubscribed,
    /// This connection does not read the channel.
    NotSubscribed,
    /// This connection reads as many channels as it may.
    TooManySubscriptions,
    /// The server is going away.
    Draining,
}

/// Why a subscriber's publication was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPublished {
    /// The channel's home refused it.
    Rejected(Rejected),
    /// The queue of the channel's home is full.
    Busy,
    /// The server is going away.
    Draining,
}
