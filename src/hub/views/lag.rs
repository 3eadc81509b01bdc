//! How far subscribers lag.

use std::collections::BTreeMap;

use super::{View, Views};
use crate::{
    hub::Reader,
    ids::Slot,
    policy::{PROBES, PatternId},
    report::{Lag, LagReport, PatternLag, SLOWEST_MAX, SlowSubscriber},
};

impl Views {
    /// How far this shard's subscribers lag. Whoever the running round has yet to visit counts as
    /// being at the head, as nothing was tried yet. The slowest have no address: they are given with
    /// their connections.
    ///
    /// Walks all views, and of their subscribers those that are behind.
    pub fn lag(&self, now_us: u64) -> (LagReport, Vec<Slot>) {
        let mut patterns: BTreeMap<PatternId, PatternLag> = BTreeMap::new();
        let mut slowest: Vec<(SlowSubscriber, Slot)> = Vec::new();
        let is_counted = |view: &&View| view.name.is_some() && view.pattern != PROBES;
        for view in self.table.iter().filter(is_counted) {
            let lag = patterns.entry(view.pattern).or_insert_with(|| PatternLag::new(view.pattern));
            let behind = u64::from(view.behind.len());
            lag.add(u64::from(view.members.len()) - behind, 0, 0);
            for reader in view.behind.iter() {
                let slow = self.slow(view, reader, now_us);
                lag.add(1, slow.publications, slow.ms);
                slowest.push((slow, self.owner(reader)));
                if slowest.len() == 16 * SLOWEST_MAX {
                    keep_slowest(&mut slowest);
                }
            }
        }
        keep_slowest(&mut slowest);
        let (slowest, slots) = slowest.into_iter().unzip();
        (LagReport { patterns: patterns.into_values().collect(), slowest }, slots)
    }

    fn slow(&self, view: &View, reader: Reader, now_us: u64) -> SlowSubscriber {
        let Lag { publications, bytes, ms } = self.lag_in(view, reader, now_us);
        let channel = view.name.clone().expect("only of views that are taken");
        SlowSubscriber { address: None, channel, format: view.format, publications, bytes, ms }
    }
}

fn keep_slowest(slowest: &mut Vec<(SlowSubscriber, Slot)>) {
    slowest.sort_by_key(|(slow, _)| std::cmp::Reverse((slow.publications, slow.ms)));
    slowest.truncate(SLOWEST_MAX);
}
