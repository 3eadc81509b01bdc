//! Channels and their subscribers: who orders, who reads, who is owed what.
//!
//! A channel has one [`Home`], the shard that gives its publications their positions, encodes and
//! keeps them. Every shard with subscribers to it has a view of the channel in [`Views`], one per
//! format. The two sides talk by [`Message`]s, which travel between shards in order and may be
//! delayed but not lost: a sender that finds an inbox full keeps what it owes as one bit and says
//! the newest later, so nothing queues up but questions of where subscribers begin, one for each.
//!
//! Pure: no sockets, no clock. What is owed comes out as slices, what became of them goes in.
#![forbid(unsafe_code)]

mod home;
mod readers;
mod views;

pub use home::{Durable, Home, HomeSetup, Keep, Published};
pub use readers::{Reader, ReaderSet};
pub use views::{
    Batch, Compose, Joined, Lapped, Left, News, NotJoined, Notice, Reading, Rest, Skipped, Started,
    Took, Views, ViewsSetup,
};

use crate::{
    frame::Format,
    ids::{ChannelName, Epoch, ShardId},
    log::{Extent, Mark, Place},
    mesh::Answer,
    resume::{Begun, Start},
};

/// Names a view on the shard that has it. The generation makes a name unique: news for a view
/// that is gone is recognised and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewId {
    /// Where it stands in its shard's table.
    pub index: u32,
    /// How often that place was taken before.
    pub generation: u32,
}

/// What a reading shard says of its view.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// The shard that reads.
    pub from: ShardId,
    /// Its view.
    pub view: ViewId,
    /// The format that the view reads.
    pub format: Format,
    /// Subscribers now; none at all ends the interest.
    pub subscribers: u32,
    /// Whether publications come faster than they can be sent there.
    pub congested: bool,
    /// Whether this is the first that the home hears of the view.
    pub first: bool,
}

/// Where a subscriber would like to begin.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The shard that it is on.
    pub from: ShardId,
    /// The view that it reads.
    pub view: ViewId,
    /// Who it is.
    pub reader: Reader,
    /// Tells this question from others of the same reader.
    pub number: u32,
    /// What it asked for.
    pub start: Start,
}

/// Where a subscriber begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Who it is.
    pub reader: Reader,
    /// The number of its question.
    pub number: u32,
    /// Where it begins.
    pub mark: Mark,
    /// What it is to be told.
    pub begun: Begun,
    /// Everything from there to the head, oldest first.
    pub extents: Vec<Extent>,
}

/// What shards tell each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// To a channel's home: so many subscribers here read it now. The first asks to be told of
    /// everything from then on; none at all ends that.
    Interest {
        /// The channel.
        channel: ChannelName,
        /// How it is read.
        said: Said,
    },
    /// To a channel's home, behind the interest of the view: where does a subscriber begin?
    Ask {
        /// The channel.
        channel: ChannelName,
        /// Who asks.
        ask: Ask,
    },
    /// From the home: the view is live. Everything behind `head` will be told.
    Live {
        /// The view.
        view: ViewId,
        /// The end of the stream when the interest came.
        head: Place,
        /// The channel's numbering.
        epoch: Epoch,
    },
    /// From the home: there are as many channels as there may be.
    Refused {
        /// The view that asked.
        view: ViewId,
    },
    /// From the home: the stream's end is at the end of this extent.
    Head {
        /// The view.
        view: ViewId,
        /// The segment that was extended, or a new one.
        extent: Extent,
    },
    /// From the home: where a subscriber begins.
    Begin {
        /// The view.
        view: ViewId,
        /// What was asked.
        beginning: Box<Beginning>,
    },
    /// From the home: what became of a subscriber's publication.
    Answered(Answer),
}

#[cfg(test)]
mod tests;
