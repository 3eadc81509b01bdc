//! What the server says in `stentor.v1` besides publications, each as one text frame.

use std::fmt::Display;

use serde::{Serialize, Serializer};

use super::websocket;
use crate::{
    frame::PayloadKind,
    ids::{ChannelName, Position},
    resume::{self, Begun},
};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reply<'a> {
    /// The command's, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(flatten)]
    says: Says<'a>,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Says<'a> {
    /// A subscription began.
    Subscribed {
        /// To what.
        #[serde(serialize_with = "text")]
        channel: &'a ChannelName,
        /// What is behind this is delivered.
        #[serde(serialize_with = "text")]
        position: Position,
        /// Whether everything missed will be delivered, where that was asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        /// What will not be.
        #[serde(skip_serializing_if = "Option::is_none")]
        gap: Option<Gap>,
    },
    /// A subscription ended.
    Unsubscribed {
        /// To what.
        #[serde(serialize_with = "text")]
        channel: &'a ChannelName,
        /// What was delivered last.
        #[serde(serialize_with = "text")]
        position: Position,
        /// Why, where nobody asked for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
    },
    /// A fresh token is good.
    Token {
        /// How long it will be.
        seconds: u64,
    },
    /// A publication was accepted.
    Published {
        /// Where.
        #[serde(serialize_with = "text")]
        channel: &'a ChannelName,
        /// The position that it was given.
        #[serde(serialize_with = "text")]
        position: Position,
        /// Whether it had been published before.
        #[serde(skip_serializing_if = "is_false")]
        repeated: bool,
    },
    /// The answer to a ping.
    Pong,
    /// A command was not carried out.
    Error {
        /// For programs.
        code: Code,
        /// For people.
        message: &'a str,
        /// What it is about.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text_of_some")]
        channel: Option<&'a ChannelName>,
    },
    /// A slow reader skips.
    Gap {
        /// In what.
        #[serde(serialize_with = "text")]
        channel: &'a ChannelName,
        /// What is not delivered.
        #[serde(flatten)]
        gap: Gap,
    },
}

/// Publications that are not delivered, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    #[serde(serialize_with = "text")]
    from: Position,
    #[serde(serialize_with = "text")]
    to: Position,
}

/// Why a command was not carried out, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not JSON, or not the shape of a command.
    BadCommand,
    /// Not a channel's name.
    BadChannel,
    /// Not a position.
    BadPosition,
    /// The connection reads the channel already.
    AlreadySubscribed,
    /// The connection does not read the channel.
    NotSubscribed,
    /// The connection reads as many channels as it may.
    TooManySubscriptions,
    /// The server has as many channels as it may.
    TooManyChannels,
    /// Not granted, to this connection or to any.
    Forbidden,
    /// The payload is larger than a publication may be.
    TooLarge,
    /// The version is not above the last.
    StaleVersion,
    /// The channel's publications come from a bus.
    FedByBus,
    /// Too much is under way; try later.
    Busy,
    /// The journal's disk is full.
    DiskFull,
    /// The journal cannot be written.
    JournalFailed,
    /// The channel has as many keys as it may.
    TooManyKeys,
    /// The server is going away.
    Draining,
    /// A token is needed, or this one is not good.
    Unauthorized,
    /// The token's subject has as many connections as it may.
    TooManyConnections,
    /// The connection publishes faster than it may; try later.
    TooFast,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 19] = [
        Code::BadCommand,
        Code::BadChannel,
        Code::BadPosition,
        Code::AlreadySubscribed,
        Code::NotSubscribed,
        Code::TooManySubscriptions,
        Code::TooManyChannels,
        Code::Forbidden,
        Code::TooLarge,
        Code::StaleVersion,
        Code::FedByBus,
        Code::Busy,
        Code::DiskFull,
        Code::JournalFailed,
        Code::TooManyKeys,
        Code::Draining,
        Code::Unauthorized,
        Code::TooManyConnections,
        Code::TooFast,
    ];
}

impl From<resume::Gap> for Gap {
    fn from(gap: resume::Gap) -> Self {
        Gap { from: gap.from, to: gap.to }
    }
}

/// How a subscription began; `asked` where it was to begin behind a position.
pub fn subscribed<'a>(channel: &'a ChannelName, begun: &Begun, asked: bool) -> Says<'a> {
    let gap = begun.gap.map(Gap::from);
    let recovered = asked.then_some(gap.is_none());
    Says::Subscribed { channel, position: begun.position, recovered, gap }
}

/// Appends one message as one text frame.
pub fn write(id: Option<u64>, says: Says<'_>, out: &mut Vec<u8>) {
    let json = serde_json::to_vec(&Reply { id, says }).expect("strings and numbers are JSON");
    websocket::write_message(PayloadKind::Text, &json, out);
}

fn text<S: Serializer>(shown: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(shown)
}

fn text_of_some<S: Serializer>(shown: &Option<&ChannelName>, to: S) -> Result<S::Ok, S::Error> {
    match shown {
        Some(shown) => to.collect_str(shown),
        None => to.serialize_none(),
    }
}

fn is_false(truth: &bool) -> bool {
    !truth
}

#[cfg(test)]
mod tests;
