//! Channels and their subscribers: who orders, who reads, who is owed what.
//!
//! A channel has one [`Home`], the shard that gives its publications their positions and encodes
//! them. Every shard with subscribers to it has a view of the channel in [`Views`], one per
//! format. The two sides talk by [`Message`]s, which travel between shards in order and may be
//! delayed but not lost: a sender that finds an inbox full keeps what it owes as one bit and says
//! the newest later, so nothing queues up.
//!
//! Pure: no sockets, no clock. What is owed comes out as slices, what became of them goes in.
#![forbid(unsafe_code)]

mod home;
mod slots;
mod views;

pub use home::{Home, Published, Said};
pub use slots::SlotSet;
pub use views::{Batch, Joined, Lapped, News, Notice, Rest, Views};

use crate::{
    ids::ChannelName,
    log::{Extent, Mark},
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
    /// From the home: the view is live. Everything behind `head` will be told.
    Live {
        /// The view.
        view: ViewId,
        /// The end of the stream when the interest came.
        head: Mark,
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
}

#[cfg(test)]
mod tests;
