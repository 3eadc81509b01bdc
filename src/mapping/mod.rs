//! Where a record of a bus goes: its channel by a template, its payload whole or in part.
//!
//! Pure: what the bus has of a record comes by [`Fields`], what becomes of it goes out as
//! [`Mapped`] or as the reason why not. A record that maps to nothing never stops its input.
#![forbid(unsafe_code)]

mod filter;
mod pointer;
mod template;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;

pub use filter::Condition;
pub use pointer::Pointer;
pub use template::Template;

use crate::{
    frame::PayloadKind,
    ids::{ChannelName, NotAChannel},
    limits::{KEY_BYTES_MAX, TEMPLATE_BYTES_MAX},
};

/// What a bus has of one record besides its payload.
pub trait Fields {
    /// What stands under a name that the bus gives every record, like `subject`, `topic` or `key`.
    /// `None` where this record has none.
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// The record's header of this name, the last if there are several; in a Redis stream, the
    /// entry's field.
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>>;
}

/// What becomes of an input's records.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The channel.
    pub channel: Template,
    /// What must hold of a record, all of it.
    pub filter: Vec<Condition>,
    /// The part of the payload that is sent, as JSON; without one it is sent as it is.
    pub payload: Option<Pointer>,
    /// In a channel of latest values, what it is the value of.
    pub key: Option<Template>,
}

/// What is wrong with a template, a condition or a pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {right}")]
pub struct Wrong {
    /// What is wrong: `has no = behind its template`.
    pub problem: String,
    /// What would be right.
    pub right: String,
}

impl Wrong {
    fn new(problem: impl Into<String>, right: impl Into<String>) -> Self {
        Wrong { problem: problem.into(), right: right.into() }
    }

    fn if_too_long(text: &str) -> Result<(), Self> {
        match text.len() > TEMPLATE_BYTES_MAX {
            true => Err(Wrong::new(
                format!("is longer than {TEMPLATE_BYTES_MAX} bytes"),
                "write a shorter one",
            )),
            false => Ok(()),
        }
    }
}

/// A record that goes to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The channel.
    pub channel: ChannelName,
    /// What it is the value of, if anything.
    pub key: Option<Box<str>>,
    /// What the payload is.
    pub kind: PayloadKind,
    /// What is sent.
    pub payload: Bytes,
}

/// Why a record goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmapped {
    /// The filter says so.
    #[error("the filter passes over it")]
    Filtered,
    /// It lacks what the template wants.
    #[error("it has no {0}, which the template of its channel or key wants")]
    Missing(Box<str>),
    /// The template makes no channel's name of it.
    #[error("'{0}' is no name of a channel: {1}")]
    BadName(Box<str>, NotAChannel),
    /// What it would be the value of is not text of at most so many bytes.
    #[error("its key is not UTF-8 of at most {KEY_BYTES_MAX} bytes")]
    BadKey,
    /// The payload has no such part, or is no JSON.
    #[error("its payload has nothing at {0}, or is no JSON")]
    NoPart(Box<str>),
}

impl Mapping {
    /// What becomes of a record.
    pub fn map(&self, record: &impl Fields, payload: Bytes) -> Result<Mapped, Unmapped> {
        if !self.filter.iter().all(|condition| condition.holds(record, &payload)) {
            return Err(Unmapped::Filtered);
        }
        let mut room = Vec::new();
        let channel = channel_of(&self.channel.filled(record, &payload, &mut room)?)?;
        let key = match &self.key {
            Some(template) => {
                room.clear();
                Some(key_of(&template.filled(record, &payload, &mut room)?)?)
            }
            None => None,
        };
        let (kind, payload) = match &self.payload {
            Some(pointer) => {
                let missing = || Unmapped::NoPart(pointer.as_str().into());
                (PayloadKind::Json, pointer.part(&payload).ok_or_else(missing)?)
            }
            None => (PayloadKind::of(&payload), payload),
        };
        Ok(Mapped { channel, key, kind, payload })
    }
}

fn channel_of(name: &[u8]) -> Result<ChannelName, Unmapped> {
    let checked = match std::str::from_utf8(name) {
        Ok(name) => ChannelName::new(name),
        // What is no UTF-8 has bytes that no name has.
        Err(at) => Err(NotAChannel::BadByte(name[at.valid_up_to()])),
    };
    checked.map_err(|why| Unmapped::BadName(shown(name), why))
}

/// A name that is none, for a log: not more of it than can be read.
fn shown(name: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES_MAX)]);
    let more = if name.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    format!("{}{more}", text.escape_debug()).into()
}

fn key_of(key: &[u8]) -> Result<Box<str>, Unmapped> {
    let text = std::str::from_utf8(key).map_err(|_| Unmapped::BadKey)?;
    if text.len() > KEY_BYTES_MAX { Err(Unmapped::BadKey) } else { Ok(text.into()) }
}

/// Bytes of a wrong name that are told.
const SHOWN_BYTES_MAX: usize = 100;
