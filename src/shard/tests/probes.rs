//! Probes reach the witnesses of every shard, the way of all publications, and count for nothing.
//!
//! Method: worlds with a shard that hangs, or none; what each witness was given is compared with what
//! was published, offset by offset.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::world::{Plan, World};
use crate::{
    frame::{Format, PayloadKind},
    ids::{ChannelName, ShardId},
    mesh::{Asker, Publish, Ticket},
    policy::{Mode, Pattern, Policies, Policy, Retention},
    report::{Question, Seen},
    session::Rules,
};

/// A world whose shards all have witnesses, and what those were given.
struct Probed {
    world: World,
    channels: Arc<[ChannelName]>,
    seen: Vec<Arc<Seen>>,
    /// Shards whose witnesses are all live.
    live: Arc<AtomicUsize>,
}

impl Probed {
    fn new(plan: Plan) -> Self {
        let channels: Arc<[ChannelName]> = ChannelName::probes(plan.shards).into();
        let seen = (0..plan.shards).map(|_| Arc::new(Seen::new(channels.len()))).collect();
        Probed { world: World::new(plan), channels, seen, live: Arc::default() }
    }

    fn watch(&mut self) {
        for (shard, seen) in self.seen.iter().enumerate() {
            let live = Arc::clone(&self.live);
            let watch = Question::Watch {
                channels: Arc::clone(&self.channels),
                seen: Arc::clone(seen),
                reply: Box::new(move |()| _ = live.fetch_add(1, Relaxed)),
            };
            let questions = &self.world.nodes[shard].shard.setup.questions;
            assert!(questions[shard].ask(watch).is_ok());
        }
    }

    /// Publishes one probe to each of these homes.
    fn probe(&mut self, homes: impl Iterator<Item = usize>) {
        for home in homes {
            let probe = Publish {
                asker: Asker::Nobody,
                ticket: Ticket(0),
                channel: self.channels[home].clone(),
                kind: PayloadKind::Text,
                payload: "probe".into(),
                terms: None,
                position: None,
            };
            assert_eq!(probe.channel.bucket().home(self.world.plan.shards), ShardId(home as u16));
            assert!(self.world.ingresses[home].publish(probe).is_ok());
            self.world.ingresses[home].wake();
        }
    }

    /// For each shard the offset of the last probe of each home.
    fn seen(&self) -> Vec<Vec<u64>> {
        let of = |seen: &Arc<Seen>| (0..self.channels.len()).map(|home| seen.last(home)).collect();
        self.seen.iter().map(of).collect()
    }
}

/// Every shard is given every home's probes, also where as many channels are there as may be and
/// everything is kept; and no list, gauge or counter knows of them.
#[test]
fn a_probe_reaches_every_shard_and_counts_for_nothing() {
    let history = Retention { count: 10, bytes: 1000, age: None };
    let all = Policy { mode: Mode::Latest, history, presence: true, ..Policy::default() };
    let policies = Policies::new([(Pattern::new("*"), all)]);
    let rules = Rules { policies, ..Rules::default() };
    for (rules, channels_max) in [(Rules::default(), usize::MAX), (rules, 0)] {
        let plan = Plan { shards: 4, channels_max, rules, ..Plan::default() };
        let mut probed = Probed::new(plan);
        let clients = if channels_max > 0 { 4 } else { 0 };
        (0..clients).for_each(|shard| _ = probed.world.join(shard, Format::WebSocket, 0));
        probed.world.settle();
        probed.watch();
        probed.world.settle();
        assert_eq!(probed.live.load(Relaxed), 4, "every shard says when its witnesses are live");
        for offset in 1..=3 {
            probed.probe(0..4);
            probed.world.settle();
            assert_eq!(probed.seen(), vec![vec![offset; 4]; 4]);
        }
        for (node, counters) in probed.world.nodes.iter_mut().zip(&*probed.world.counters) {
            let shard = &mut node.shard;
            let busiest = shard.home.busiest(10, 0).into_iter().map(|it| it.name);
            let listed = shard.home.reports("", None, 10).into_iter().map(|it| it.name);
            assert!(busiest.chain(listed).all(|name| name == probed.world.names[0]));
            let (lag, slow) = shard.views.lag(0);
            let subscriptions: u64 = lag.patterns.iter().flat_map(|it| it.publications).sum();
            assert_eq!((subscriptions, slow.len()), (clients as u64 / 4, 0));
            let counted = [&counters.publications, &counters.deliveries, &counters.encodings];
            let counted = counted.into_iter().chain([&counters.sweeps, &counters.written]);
            assert_eq!(counted.map(|it| it.get()).collect::<Vec<_>>(), [0; 5]);
        }
        if clients > 0 {
            probed.world.check_rest();
        }
    }
}

/// While a shard hangs, all the others are given what is published, and once it goes on it is, too.
#[test]
fn a_stuck_shard_is_the_only_one_that_sees_nothing() {
    let mut probed = Probed::new(Plan { shards: 4, ..Plan::default() });
    probed.watch();
    probed.world.settle();
    probed.world.nodes[2].stuck = true;
    probed.probe([0, 1, 3].into_iter());
    probed.world.settle();
    let (others, stuck) = (vec![1, 1, 0, 1], vec![0; 4]);
    assert_eq!(probed.seen(), [&others, &others, &stuck, &others].map(Clone::clone));
    probed.world.nodes[2].stuck = false;
    probed.probe([2].into_iter());
    probed.world.settle();
    assert_eq!(probed.seen(), vec![vec![1; 4]; 4]);
}

/// A witness that could not be kept up with what was published goes on with what is kept.
#[test]
fn a_witness_that_was_lapped_goes_on() {
    let mut probed = Probed::new(Plan { shards: 2, lag_bytes_max: 1, ..Plan::default() });
    probed.watch();
    probed.world.settle();
    probed.world.nodes[1].stuck = true;
    for _ in 0..40 {
        (0..50).for_each(|_| probed.probe([0].into_iter()));
        probed.world.settle();
    }
    assert_eq!(probed.seen(), [[2000, 0], [0, 0]]);
    probed.world.nodes[1].stuck = false;
    probed.probe([0, 1].into_iter());
    probed.world.settle();
    assert_eq!(probed.seen(), [[2001, 1], [2001, 1]]);
}

/// Asked again, a shard notes in the new place and has no more witnesses than before.
#[test]
fn a_shard_is_asked_again() {
    let mut probed = Probed::new(Plan::default());
    probed.watch();
    probed.world.settle();
    let first = std::mem::replace(&mut probed.seen, vec![Arc::new(Seen::new(1))]);
    probed.watch();
    probed.world.settle();
    assert_eq!(probed.live.load(Relaxed), 2);
    probed.probe([0].into_iter());
    probed.world.settle();
    assert_eq!((first[0].last(0), probed.seen[0].last(0)), (0, 1));
    assert_eq!((probed.world.nodes[0].shard.views.len(), first[0].last(7)), (0, 0));
}
