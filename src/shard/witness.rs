//! Reading what the server publishes to itself, to prove that publications arrive.
//!
//! A witness is a subscriber without a connection: a probe comes to it by the inbox, the window and a
//! round of the sweep, as to everybody else, and only the kernel is left out. There are none until the
//! shard is asked for them, and none is ever counted as a subscriber.

use std::sync::Arc;

use super::Shard;
use crate::{
    hub::{Joined, Took},
    ids::{ChannelName, Slot},
    io::Kernel,
    report::{Reply, Seen},
};

/// What a shard knows of its witnesses.
pub(super) struct Witness {
    seen: Arc<Seen>,
    /// Those whose subscription is not live yet.
    waiting: usize,
    /// Is told when none is left of those.
    reply: Option<Reply<()>>,
}

impl<K: Kernel> Shard<K> {
    /// Has a witness read each of these channels, which are the same whenever this is asked.
    pub(super) fn watch(&mut self, channels: &[ChannelName], seen: Arc<Seen>, reply: Reply<()>) {
        match &mut self.witness {
            Some(witness) => (witness.seen, witness.reply) = (seen, Some(reply)),
            None => {
                let mut joined = channels.iter().map(|channel| self.views.add_witness(channel).1);
                let waiting = joined.by_ref().filter(|it| matches!(it, Joined::Waiting(_))).count();
                self.witness = Some(Witness { seen, waiting, reply: Some(reply) });
            }
        }
        self.tell_watched();
    }

    /// Whether the slot is behind those of all connections.
    pub(super) fn is_witness(&self, slot: Slot) -> bool {
        slot.index() >= self.sessions.len()
    }

    pub(super) fn on_witness_live(&mut self) {
        if let Some(witness) = &mut self.witness {
            witness.waiting = witness.waiting.saturating_sub(1);
        }
        self.tell_watched();
    }

    fn tell_watched(&mut self) {
        if let Some(witness) = self.witness.as_mut().filter(|witness| witness.waiting == 0)
            && let Some(reply) = witness.reply.take()
        {
            reply(());
        }
    }

    /// Takes the probes that a round of the sweep has found due.
    pub(super) fn take_probe(&mut self, slot: Slot) {
        let Some(witness) = &self.witness else { return };
        let shards = self.setup.mesh.shards();
        self.views.compose(slot, |probe| {
            let home = usize::from(probe.channel.bucket().home(shards).0);
            // Offsets that no bus gives have 64 bits.
            witness.seen.note(home, probe.position.offset.0 as u64);
            Took::More
        });
    }
}
