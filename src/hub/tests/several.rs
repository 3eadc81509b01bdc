//! Connections that read many channels, of which some have many readers.

use std::collections::{BTreeMap, BTreeSet};

use super::SLOTS;
use crate::{
    frame::Format,
    hub::{NotJoined, Reader, Rest, Views, ViewsSetup},
    ids::{ChannelName, ShardId, Slot},
    io::sim::Dice,
    policy::Policies,
    resume::Start,
};

const CHANNELS: usize = 40;
const SUBSCRIPTIONS_MAX: u32 = 20;

/// A connection has one reader of each channel that it reads and none of any other, in whatever order
/// it comes to them and leaves them, and no reader has two owners.
///
/// Method: two connections come and go in many channels, others in a few, so that channels have fewer
/// readers than a connection has, and more. A map knows what each reads.
#[test]
fn a_connection_has_one_reader_in_each_of_its_channels() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut views = Views::new(ViewsSetup {
            shard: ShardId(0),
            slots: SLOTS,
            policies: Policies::default(),
            lag_bytes_max: 1000,
            subscriptions_max: SUBSCRIPTIONS_MAX,
        });
        let mut oracle: BTreeMap<(u32, usize), Reader> = BTreeMap::new();
        for step in 0..600 {
            let busy = dice.below(3) > 0;
            let slot = if busy { dice.below(2) } else { 2 + dice.below(SLOTS as usize - 2) } as u32;
            let channel = dice.below(if busy { CHANNELS } else { 2 });
            let name = ChannelName::new(&format!("c{channel}")).unwrap();
            let known = oracle.get(&(slot, channel)).copied();
            let context = format!("seed {seed}, step {step}");
            assert_eq!(views.reader_of(Slot(slot), &name), known, "{context}");
            match (known, dice.below(400)) {
                (_, 0) => {
                    assert_eq!(views.leave_all(Slot(slot), 0), Rest::None, "{context}");
                    oracle.retain(|&(whose, _), _| whose != slot);
                }
                (Some(reader), 1..200) => {
                    views.leave(reader, 0);
                    oracle.remove(&(slot, channel));
                }
                _ => join(&mut views, &mut oracle, (slot, channel), &name),
            }
            let reads = oracle.range((slot, 0)..(slot + 1, 0)).count();
            assert_eq!(views.subscriptions(Slot(slot)), reads, "{context}");
            let readers: BTreeSet<Reader> = oracle.values().copied().collect();
            assert_eq!(readers.len(), oracle.len(), "{context}: a reader has two owners");
        }
    }
}

fn join(
    views: &mut Views,
    oracle: &mut BTreeMap<(u32, usize), Reader>,
    (slot, channel): (u32, usize),
    name: &ChannelName,
) {
    let reads = oracle.range((slot, 0)..(slot + 1, 0)).count();
    let joined = views.join_several(Slot(slot), name, Format::Json, Start::Live, false);
    match joined {
        Err(NotJoined::Already) => assert!(oracle.contains_key(&(slot, channel))),
        Err(NotJoined::TooMany) => assert_eq!(reads, SUBSCRIPTIONS_MAX as usize),
        Ok(_) => {
            assert!(reads < SUBSCRIPTIONS_MAX as usize);
            let reader = views.reader_of(Slot(slot), name).unwrap();
            assert_eq!(views.owner(reader), Slot(slot));
            assert_eq!(oracle.insert((slot, channel), reader), None);
        }
    }
}
