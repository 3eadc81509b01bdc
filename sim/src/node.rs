//! A shard and what surrounds it: its thread's sleep, its network.
//!
//! In a world that sleeps a shard is turned only if its last turn did something, its bell was rung,
//! its kernel has events, or its patience is over: so a wake-up that is lost leaves it asleep with
//! work to do, and something missing at rest.

use std::sync::Arc;

use stentor::{
    ids::Bucket,
    io::sim::{Dice, Sim, SimBell, SimNet},
    mesh::Parking,
    shard::{Heritage, Now, Shard},
};

/// One shard.
pub struct Node {
    shard: Shard<Sim>,
    /// The clients' side of its network.
    pub net: SimNet,
    /// It hangs and does not turn.
    pub stuck: bool,
    parking: Arc<Parking>,
    bell: Arc<SimBell>,
    sleep: Option<Sleep>,
    /// Its last turn did nothing. Others may do something before it lies down.
    drowsy: bool,
}

#[derive(Clone, Copy)]
struct Sleep {
    until_us: Option<u64>,
    rings: u64,
}

impl Node {
    /// A shard that is awake.
    pub fn new(shard: Shard<Sim>, net: SimNet, parking: Arc<Parking>, bell: Arc<SimBell>) -> Node {
        Node { shard, net, stuck: false, parking, bell, sleep: None, drowsy: false }
    }

    /// Takes what an earlier server had on disk.
    pub fn restore(&mut self, bucket: Bucket, heritage: Heritage) {
        self.shard.restore(bucket, heritage);
    }

    /// Turns the shard if it has a reason to. Says whether it had.
    pub fn turn(&mut self, now_us: u64, sleepy: bool, dice: &mut Dice) -> bool {
        if self.stuck || !self.is_due(now_us) {
            return false;
        }
        if self.drowsy {
            self.lie_down(now_us);
            return true;
        }
        self.sleep = None;
        self.parking.unpark();
        let worked = self.shard.turn(Now { us: now_us });
        self.drowsy = sleepy && !worked;
        if self.drowsy && dice.one_in(2) {
            self.lie_down(now_us);
        }
        worked || sleepy
    }

    /// Whether its kernel has something to tell.
    pub fn has_events(&mut self) -> bool {
        self.shard.kernel_mut().has_events()
    }

    fn lie_down(&mut self, now_us: u64) {
        self.drowsy = false;
        if self.shard.lie_down() {
            let patience = self.shard.patience(Now { us: now_us });
            let until_us = patience.map(|patience| now_us + patience.as_micros() as u64);
            self.sleep = Some(Sleep { until_us, rings: self.bell.rings() });
        }
    }

    fn is_due(&mut self, now_us: u64) -> bool {
        let Some(Sleep { until_us, rings }) = self.sleep else { return true };
        let is_over = until_us.is_some_and(|until_us| until_us <= now_us);
        self.bell.rings() > rings || is_over || self.has_events()
    }
}
