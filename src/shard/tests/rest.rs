//! What must be true of a world at rest, and of one that everybody has left.

use std::{collections::HashSet, time::Duration};

use super::{
    client::{Client, Kind, Phase},
    world::World,
};
use crate::{close::CloseReason, frame::Format, ids::Slot};

impl World {
    /// Everybody reads and answers, and everything comes to rest.
    pub fn come_to_rest(&mut self) {
        for client in 0..self.clients.len() {
            self.with(client, |client, net| {
                client.stall(net, false);
                client.mute = false;
                if client.phase == Phase::Over && !client.left {
                    net.leave(client.id);
                    client.left = true;
                }
            });
        }
        self.settle();
    }

    /// At rest nobody is owed anything, and every number is the number of what is there.
    pub fn check_rest(&mut self) {
        assert_eq!(self.unanswered(), 0, "publications without an answer");
        self.clients.iter().for_each(|client| client.check_complete(&self.book));
        for index in 0..self.nodes.len() {
            self.check_queues(index);
            self.check_connections(index);
            self.check_views(index);
            self.check_sums(index);
        }
        self.check_admission();
    }

    fn check_queues(&self, index: usize) {
        let node = &self.nodes[index];
        let shard = &node.shard;
        assert!(shard.ready.is_empty() && shard.readable.is_empty());
        assert!(!shard.views.owes() && !shard.home.owes() && !shard.views.has_work());
        assert_eq!(shard.views.blocked(), 0, "sockets are thought to be full");
        assert!((0..self.plan.slots).all(|slot| !shard.outboxes.has(Slot(slot))));
        assert!((0..self.plan.slots).all(|slot| shard.views.cut_rest(Slot(slot)).is_empty()));
        let asks = self.clients.iter().any(|client| client.phase == Phase::Asking);
        assert!(asks || shard.received.is_empty());
        assert!(shard.setup.mesh.inbox(shard.setup.id).is_empty());
        assert_eq!(self.ingresses[index].waiting(), 0);
        let closed = self.admission.is_exhausted() || self.drain.has_begun();
        assert!(closed || node.net.waiting() == 0, "clients are not accepted");
    }

    fn check_connections(&self, index: usize) {
        let shard = &self.nodes[index].shard;
        let connected = self.connected(index);
        let open = shard.states.iter().filter(|state| state.is_open()).count();
        assert_eq!((open, shard.connections as usize), (connected, connected));
        assert_eq!(self.counters[index].connections.get(), connected as u64);
        let transports = self.counters[index].transports.iter().map(|it| it.get());
        assert_eq!(transports.sum::<u64>(), connected as u64, "each is spoken to in one way");
        let gone = |slot: &Slot| !shard.states[slot.index()].is_open();
        for slot in (0..self.plan.slots).map(Slot).filter(gone) {
            assert!(shard.wheel.deadline(slot).is_none(), "a deadline of nobody");
        }
        assert_eq!(self.counters[index].blocked.get(), 0);
        assert_eq!(self.counters[index].inbox.get(), 0);
        for format in [Format::WebSocket, Format::Sse] {
            let live =
                self.live(|client| client.shard == index && client.kind == Kind::Reader(format));
            let counted = self.counters[index].subscribers[format.index()].get();
            assert_eq!(counted, live.count() as u64, "{format:?} subscribers of shard {index}");
        }
    }

    fn check_views(&self, index: usize) {
        let shard = &self.nodes[index].shard;
        let views: HashSet<_> = self
            .live(|client| client.shard == index)
            .map(|client| (client.channel, client.is_websocket()))
            .collect();
        let channels: HashSet<_> = self
            .live(|client| self.home(client.channel) == index)
            .map(|client| client.channel)
            .collect();
        assert_eq!((shard.views.len(), shard.home.channels()), (views.len(), channels.len()));
        assert_eq!(self.counters[index].views.get(), views.len() as u64);
        assert_eq!(self.counters[index].channels.get(), channels.len() as u64);
        assert!(!views.is_empty() || shard.views.memory() == 0, "memory of nobody");
    }

    /// Whoever was accepted is there or was counted at its end, with the reason that it was told.
    fn check_sums(&self, index: usize) {
        let (shard, counters) = (&self.nodes[index].shard, &self.counters[index]);
        let alive = shard.states.iter().filter(|state| {
            state.has(super::super::State::OPEN) && !state.has(super::super::State::ENDED)
        });
        let closed: u64 = counters.closed.iter().map(|closed| closed.get()).sum();
        assert_eq!(counters.accepted.get(), closed + alive.count() as u64);
        for reason in CloseReason::ALL {
            let told = self.clients.iter().filter(|client| client.shard == index);
            let told = told.filter(|client| client.reason == Some(reason)).count() as u64;
            let counted = counters.closed[reason.index()].get();
            assert!(counted >= told, "{told} were told {reason:?}, and {counted} counted");
        }
        let never = |reason: CloseReason| counters.closed[reason.index()].get() == 0;
        assert!(self.drain.has_begun() || never(CloseReason::ServerDraining));
        assert!(self.circumstances().laps || never(CloseReason::PeerTooSlow));
    }

    /// As many places are taken as there are connections that took one.
    fn check_admission(&self) {
        let max = self.plan.connections_max;
        if max > 10_000 {
            return;
        }
        let mut free = 0;
        while self.admission.enter() {
            free += 1;
        }
        (0..free).for_each(|_| self.admission.leave());
        let refused = |shard: usize| {
            let states = self.nodes[shard].shard.states.iter();
            states.filter(|state| state.is_open() && !state.has(super::super::State::ADMITTED))
        };
        let connected: usize = (0..self.nodes.len()).map(|shard| self.connected(shard)).sum();
        let refused: usize = (0..self.nodes.len()).map(|shard| refused(shard).count()).sum();
        assert_eq!((max - free) as usize, connected - refused, "places taken");
    }

    /// Everybody leaves, each in its own way, and nothing is left of them.
    pub fn check_the_end(&mut self) {
        for client in 0..self.clients.len() {
            let way = self.dice.below(4);
            self.with(client, |client, net| match way {
                _ if client.left => (),
                0 | 1
                    if client.speaks() && client.is_websocket() && client.phase == Phase::Live =>
                {
                    client.close(net, (way == 1).then_some(1000));
                }
                2 => client.finish(net),
                _ => client.go(net, way == 3),
            });
        }
        self.settle();
        for client in 0..self.clients.len() {
            self.with(client, |client, net| {
                if !client.left {
                    client.finish(net)
                }
            });
        }
        // Backlogs empty only as slots become free.
        self.pass(Duration::from_secs(5), 20_000, |_| false);
        self.settle();
        self.check_rest();
        for node in &self.nodes {
            let shard = &node.shard;
            assert_eq!((shard.connections, node.net.waiting()), (0, 0));
            assert!(shard.states.iter().all(|state| state.is_free()), "a slot is not free");
            assert!(shard.wheel.next().is_none(), "a deadline of nobody");
            assert!(shard.bearers.is_empty(), "a token of nobody");
            assert!(!self.admission.is_exhausted());
        }
    }

    pub fn live(&self, which: impl Fn(&Client) -> bool) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(move |client| client.phase == Phase::Live && which(client))
    }
}
