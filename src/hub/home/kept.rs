//! What is kept of a channel for those who come back.

use std::collections::{BTreeMap, HashMap};

use crate::{
    frame::Format,
    ids::Offset,
    log::Log,
    policy::{Mode, Policy},
    wire::websocket,
};

use super::{
    channel::{CANONICAL, Channel},
    sequences::GAP_KEY,
};

/// History, or the current values.
pub(super) struct Kept {
    /// Frames before the oldest that is kept. In a channel of latest values it stays where it was.
    pub floor_frames: u64,
    /// The offset of the last publication that is not kept.
    pub floor: Offset,
    /// Payload bytes of what is kept.
    pub bytes: usize,
    /// The values, in a channel of latest values.
    pub values: Option<Values>,
    /// For each format that is encoded but read by nobody: since when, in microseconds.
    pub unread_since_us: [Option<u64>; Format::ALL.len()],
    /// When the home's timer for it fires, in microseconds.
    pub timed: Option<u64>,
}

/// The current value of every key.
#[derive(Default)]
pub(super) struct Values {
    by_key: HashMap<Box<str>, Value>,
    by_offset: BTreeMap<Offset, Box<str>>,
}

/// A current value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Its publication's offset.
    pub offset: Offset,
    /// Its frame in the log of each format; 0 where there is none.
    pub frames: [u64; Format::ALL.len()],
    /// Bytes of its payload.
    pub bytes: u32,
}

impl Values {
    /// The offsets of all.
    pub fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.by_offset.keys().copied()
    }

    /// The canonical frame of a key's value.
    pub fn frame(&self, key: &str) -> Option<u64> {
        self.by_key.get(key).map(|value| value.frames[CANONICAL.index()])
    }

    /// Visits all, the oldest first.
    pub fn each_oldest_first(&mut self, mut visit: impl FnMut(&str, &mut Value)) {
        for key in self.by_offset.values() {
            if let Some(value) = self.by_key.get_mut(key) {
                visit(key, value);
            }
        }
    }
}

impl Kept {
    /// Nothing yet; publications until now had at most the offset `last`.
    pub fn new(policy: &Policy, last: Offset) -> Self {
        Kept {
            floor_frames: 0,
            floor: last,
            bytes: 0,
            values: (policy.mode == Mode::Latest).then(Values::default),
            unread_since_us: Default::default(),
            timed: None,
        }
    }

    /// Publications that are kept, or keys.
    pub fn count(&self, log: &Log) -> u64 {
        match &self.values {
            Some(_) => self.keys() as u64,
            None => log.head().mark.frames - self.floor_frames,
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self, channel: &Channel) -> bool {
        channel.canonical().is_none_or(|log| self.count(log) == 0)
    }

    /// Whether there is a value of this key.
    pub fn has_key(&self, key: &str) -> bool {
        self.values.as_ref().is_some_and(|values| values.by_key.contains_key(key))
    }

    /// Keys that have a value.
    pub fn keys(&self) -> usize {
        let gaps = |values: &Values| usize::from(values.by_key.contains_key(GAP_KEY));
        self.values.as_ref().map_or(0, |values| values.by_key.len() - gaps(values))
    }

    /// Takes the new value of a key, and gives back the one that it replaces.
    pub fn put_value(&mut self, key: &str, value: Value) -> Option<Value> {
        let values = self.values.as_mut().expect("only where there are values");
        self.bytes += value.bytes as usize;
        let replaced = match values.by_key.get_mut(key) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => values.by_key.insert(key.into(), value),
        };
        let name = replaced.and_then(|old| {
            self.bytes -= old.bytes as usize;
            values.by_offset.remove(&old.offset)
        });
        values.by_offset.insert(value.offset, name.unwrap_or_else(|| key.into()));
        replaced
    }

    /// Drops what exceeds the policy; returns the values that went.
    pub fn trim(&mut self, policy: &Policy, log: &Log, now: u32) -> Vec<Value> {
        let mut dropped = Vec::new();
        while let Some((frame, offset)) = self.oldest(log) {
            let Some((extent, index)) = log.find(frame) else { break };
            let stamp = extent.stamp(index);
            let history = &policy.history;
            // The newest value is owed to its readers, however large it is.
            let is_last_value = self.values.is_some() && self.count(log) == 1;
            let is_over = self.count(log) > u64::from(history.count)
                || (self.bytes > history.bytes && !is_last_value)
                || history.age.is_some_and(|age| age_of(stamp.time, now) >= hundredths(age));
            if !is_over {
                break;
            }
            self.bytes -= websocket::payload(extent.bytes.frame(index)).len();
            match &mut self.values {
                Some(values) => {
                    let key = values.by_offset.remove(&offset).expect("the oldest");
                    dropped.extend(values.by_key.remove(&key));
                }
                None => (self.floor_frames, self.floor) = (frame, stamp.offset),
            }
        }
        dropped
    }

    /// The canonical frame of the oldest that is kept, and its offset where it is a value.
    fn oldest(&self, log: &Log) -> Option<(u64, Offset)> {
        match &self.values {
            Some(values) => {
                let (&offset, key) = values.by_offset.first_key_value()?;
                let value = values.by_key.get(key)?;
                Some((value.frames[CANONICAL.index()], offset))
            }
            None => {
                let frame = self.floor_frames + 1;
                (frame <= log.head().mark.frames).then_some((frame, Offset(0)))
            }
        }
    }

    /// When the oldest that is kept is too old, in hundredths of a second from `now`.
    pub fn expires_in(&self, policy: &Policy, log: &Log, now: u32) -> Option<u32> {
        let age = hundredths(policy.history.age?);
        let (extent, index) = log.find(self.oldest(log)?.0)?;
        Some(age.saturating_sub(age_of(extent.stamp(index).time, now)))
    }
}

/// How long ago something was, in hundredths of a second. What seems to come from the future is new.
fn age_of(time: u32, now: u32) -> u32 {
    let age = now.wrapping_sub(time);
    if age > u32::MAX / 2 { 0 } else { age }
}

fn hundredths(age: std::time::Duration) -> u32 {
    u32::try_from(age.as_millis() / 10).unwrap_or(u32::MAX / 2).min(u32::MAX / 2)
}
