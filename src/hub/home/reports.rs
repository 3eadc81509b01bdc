//! What a home tells of its channels to whoever asks.

use super::{Home, channel::Channel};
use crate::{
    ids::ChannelName,
    report::{BusyChannel, ChannelReport},
};

impl Home {
    /// One channel, if somebody reads it or something of it is kept.
    pub fn report(&self, name: &ChannelName) -> Option<ChannelReport> {
        self.channels.get(name).map(|channel| self.report_of(name, channel))
    }

    /// The channels whose names begin with `prefix` and come behind `after`, in order, at most
    /// `limit`. Walks all channels.
    pub fn reports(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Vec<ChannelReport> {
        let is_wanted = |name: &&ChannelName| {
            let is_meant = name.as_str().starts_with(prefix) && !name.is_probe();
            is_meant && after.is_none_or(|after| *name > after)
        };
        let mut names: Vec<&ChannelName> = self.channels.keys().filter(is_wanted).collect();
        if names.len() > limit && limit > 0 {
            names.select_nth_unstable(limit - 1);
        }
        names.truncate(limit);
        names.sort_unstable();
        names.iter().filter_map(|name| self.report(name)).collect()
    }

    /// The channels that most is delivered of now, the busiest first, at most `limit`. Walks all
    /// channels, and holds twice as many as it gives.
    pub fn busiest(&self, limit: usize, now_us: u64) -> Vec<BusyChannel> {
        let now = (now_us / 10_000) as u32;
        let mut found: Vec<BusyChannel> = Vec::new();
        for (name, channel) in self.channels.iter().filter(|(name, _)| !name.is_probe()) {
            found.push(BusyChannel {
                name: name.clone(),
                subscribers: channel.subscribers(),
                publications_per_second: channel.pace.per_second(now),
            });
            if found.len() >= 2 * limit.max(1) {
                found.select_nth_unstable_by(limit, BusyChannel::compare);
                found.truncate(limit);
            }
        }
        found.sort_unstable_by(BusyChannel::compare);
        found.truncate(limit);
        found
    }

    fn report_of(&self, name: &ChannelName, channel: &Channel) -> ChannelReport {
        let kept = channel.kept.as_deref().zip(channel.canonical());
        ChannelReport {
            name: name.clone(),
            subscribers: channel.subscribers(),
            position: channel.position(),
            kept: kept.map_or(0, |(kept, log)| kept.count(log)),
            kept_bytes: kept.map_or(0, |(kept, _)| kept.bytes as u64),
        }
    }
}
