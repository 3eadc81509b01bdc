//! What happens to channels as time passes: publications get too old, formats are read no more.

use super::Home;
use crate::{
    frame::Format,
    ids::{Bucket, ChannelName},
    policy::{PatternId, Policies},
};

/// Microseconds for which a format that nobody reads goes on being encoded: whoever was cut off
/// comes back within them.
const UNREAD_US: u64 = 60_000_000;

/// Channels looked after in one turn.
const PER_TURN_MAX: usize = 256;

/// What the records of one channel come to in the journal besides their payload, about.
const RECORD_BYTES: u64 = 64;

/// Bytes that a bucket's file may have before it is worth compacting.
const FILE_BYTES_MIN: u64 = 1024 * 1024;

impl Home {
    /// When the home is to be looked after next, in microseconds.
    pub fn next_due_us(&self) -> Option<u64> {
        let timer = self.timers.first().map(|&(due_us, _)| due_us);
        timer.into_iter().chain(self.presence_due()).min()
    }

    /// Looks after channels whose time has come. Says whether there were any.
    pub fn on_time(&mut self, now_us: u64) -> bool {
        let mut worked = false;
        for _ in 0..PER_TURN_MAX {
            if self.timers.first().is_none_or(|&(due_us, _)| due_us > now_us) {
                break;
            }
            let Some((_, name)) = self.timers.pop_first() else { break };
            self.age(&name, now_us);
            worked = true;
        }
        worked
    }

    /// How channels live from now on: the same patterns (see [`Policies::can_become`]). What is kept
    /// beyond that is dropped now. Walks all channels, which a reload may.
    pub fn set_policies(&mut self, policies: Policies, now_us: u64) {
        assert!(self.setup.policies.can_become(&policies), "channels keep what they are made of");
        let older = std::mem::replace(&mut self.setup.policies, policies);
        let newer = &self.setup.policies;
        let has_changed = |it: PatternId| older.get(it).history != newer.get(it).history;
        let changed = self.channels.iter().filter(|(_, channel)| has_changed(channel.pattern));
        let changed: Vec<ChannelName> = changed.map(|(name, _)| name.clone()).collect();
        for name in changed {
            let kept = self.channels.get_mut(&name).and_then(|channel| channel.kept.as_mut());
            // It was set by the age that held until now.
            if let Some(due_us) = kept.and_then(|kept| kept.timed.take()) {
                self.timers.remove(&(due_us, name.clone()));
            }
            self.age(&name, now_us);
        }
    }

    fn age(&mut self, name: &ChannelName, now_us: u64) {
        let lag_bytes_max = self.setup.lag_bytes_max;
        if !self.channels.contains_key(name) {
            return;
        }
        let (channel, policy) = self.channel(name);
        let policy = policy.clone();
        channel.trim(&policy, (now_us / 10_000) as u32, lag_bytes_max);
        for format in Format::ALL {
            let since = channel.kept.as_ref().and_then(|k| k.unread_since_us[format.index()]);
            if since.is_some_and(|since_us| since_us + UNREAD_US <= now_us) {
                channel.drop_log(format);
            }
        }
        if let Some(kept) = &mut channel.kept {
            kept.timed = None;
        }
        self.look_after(name, now_us);
        self.free_if_empty(name);
    }

    /// Sees to it that the channel is looked after when its oldest publication is too old, or a format
    /// has been unread for long enough. A timer that is set stands: at worst it fires too early, or,
    /// for an unread format, late.
    pub(super) fn look_after(&mut self, name: &ChannelName, now_us: u64) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let policy = self.setup.policies.get(channel.pattern);
        let log = channel.logs[super::channel::CANONICAL.index()].as_deref();
        let Some((kept, log)) = channel.kept.as_mut().zip(log) else { return };
        if kept.timed.is_some() {
            return;
        }
        let expires = kept.expires_in(policy, log, (now_us / 10_000) as u32);
        let expires_us = expires.map(|hundredths| now_us + u64::from(hundredths) * 10_000);
        let unread = kept.unread_since_us.iter().flatten().map(|since_us| since_us + UNREAD_US);
        let Some(due_us) = unread.chain(expires_us).min() else { return };
        // A hundredth later, so that it is over and not only nearly.
        kept.timed = Some(due_us + 10_000);
        self.timers.insert((due_us + 10_000, name.clone()));
    }

    /// Whether a bucket's file in the journal, of this size, is worth writing anew, and if so what of
    /// it is kept. `landed` is the last offset of the bucket that is on disk. Walks all channels, and
    /// if it was not worth it not again before the file has grown by an eighth.
    pub fn compaction(&mut self, bucket: Bucket, landed: u64, file_bytes: u64) -> Option<Keep> {
        let look_at = &mut self.look_at[usize::from(bucket.0)];
        // A file that has shrunk was written anew.
        *look_at = (*look_at).min(file_bytes + file_bytes / 8);
        if file_bytes < FILE_BYTES_MIN.max(*look_at) {
            return None;
        }
        *look_at = file_bytes + file_bytes / 8;
        let mut live = 0;
        let mut keep = Keep::default();
        for (name, channel) in &self.channels {
            let is_journaled = Some(channel.epoch) == self.setup.journal && self.is_journaled(name);
            if name.bucket() != bucket || !is_journaled {
                continue;
            }
            let Some((kept, log)) = channel.kept.as_deref().zip(channel.canonical()) else {
                continue;
            };
            let record_bytes = RECORD_BYTES + name.as_str().len() as u64;
            live += kept.bytes as u64 + kept.count(log) * record_bytes;
            match &kept.values {
                Some(values) => {
                    keep.floors.push((name.clone(), landed));
                    keep.values.extend(values.offsets().map(|offset| offset.0 as u64));
                }
                None => keep.floors.push((name.clone(), kept.floor.0 as u64)),
            }
        }
        (file_bytes > 2 * live).then_some(keep)
    }
}

/// What the journal is to keep of a bucket, besides channels that it does not name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Of each of these channels what is above an offset.
    pub floors: Vec<(ChannelName, u64)>,
    /// And these, the current values of channels of latest values.
    pub values: Vec<u64>,
}
