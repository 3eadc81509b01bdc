//! What the threads of a run share: the plan, what has been published, how far the run is.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    decoder::Transport,
    oracle::Published,
    order::Subscribe,
    plan::{Layout, Plan},
    schedule::Schedule,
    tally::HEAT_ROWS,
};

/// What the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    /// Drawn at random; publications of other runs are told by it.
    pub run: u32,
    /// All times of a run are counted from here.
    pub epoch: Instant,
    /// What is to be done.
    pub plan: Plan,
    /// The plan's subscribers, dealt out.
    pub layout: Layout,
    /// The plan's publications.
    pub schedule: Schedule,
    /// How to subscribe.
    pub subscribe: Vec<(Transport, Subscribe)>,
    /// What has been published.
    pub ledger: Ledger,
    /// Publications that the server took, for whoever watches.
    pub published: AtomicU64,
    /// How far the run is.
    pub stage: Clock,
    /// What each thread of subscribers, or each agent, has counted so far.
    pub gauges: Vec<Gauges>,
}

/// How far a run is. Stages follow one another in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Subscribers connect.
    Ramp,
    /// Publications are due.
    Publishing,
    /// All publications are handed over; the last of them are on their way.
    Settling,
    /// What has not come by now is lost.
    Over,
}

/// The stage of a run, and when publishing began.
#[derive(Debug, Default)]
pub struct Clock {
    stage: AtomicU8,
    publishing_micros: AtomicU64,
}

/// What has been handed to the server.
#[derive(Debug)]
pub struct Ledger {
    handed_over: Box<[AtomicU32]>,
    uncertain: Mutex<BTreeSet<(u32, u32)>>,
    /// What the server said where they are, by channel and sequence: of the first
    /// [`POSITIONS_MAX`] of a run whose subscribers may be told of gaps.
    positions: Mutex<BTreeMap<(u32, u32), Box<str>>>,
}

/// What a thread or an agent has counted so far, for whoever watches. The tally has the truth.
#[derive(Debug)]
pub struct Gauges {
    /// Connections that are live.
    pub live: AtomicU64,
    /// Subscribers that were connected once.
    pub established: AtomicU64,
    /// Subscribers that never were, and will not be.
    pub failed: AtomicU64,
    /// Publications received.
    pub received: AtomicU64,
    /// Faults that the oracle has found.
    pub faults: AtomicU64,
    /// Subscribers that miss something yet, plus one; zero before anybody has looked.
    pub behind: AtomicU64,
    /// Deliveries by latency.
    pub heat: [AtomicU64; HEAT_ROWS],
}

impl Default for Gauges {
    fn default() -> Gauges {
        let zero = || AtomicU64::new(0);
        Gauges {
            live: zero(),
            established: zero(),
            failed: zero(),
            received: zero(),
            faults: zero(),
            behind: zero(),
            heat: std::array::from_fn(|_| zero()),
        }
    }
}

impl Shared {
    /// What a run of this number begins with, where so many parties have gauges.
    pub fn new(
        run: u32,
        epoch: Instant,
        plan: Plan,
        subscribe: Vec<(Transport, Subscribe)>,
        gauges: u32,
    ) -> Shared {
        Shared {
            run,
            epoch,
            layout: Layout::new(&plan),
            schedule: Schedule::new(&plan),
            subscribe,
            ledger: Ledger::new(plan.channels()),
            published: AtomicU64::new(0),
            stage: Clock::default(),
            gauges: (0..gauges).map(|_| Gauges::default()).collect(),
            plan,
        }
    }

    /// The channels that the publication of this number goes to.
    pub fn targets(&self, number: u32) -> Range<u32> {
        if self.schedule.is_broadcast(number) {
            return 0..self.plan.channels();
        }
        self.layout.target(number).map_or(0..0, |channel| channel..channel + 1)
    }

    /// Time since the epoch; zero before it.
    pub fn since_epoch(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    /// How to subscribe by this transport.
    pub fn subscribe(&self, transport: Transport) -> &Subscribe {
        let found = self.subscribe.iter().find(|(it, _)| *it == transport);
        &found.expect("there is an endpoint for each transport of the plan").1
    }

    /// The sum of one gauge over all threads.
    pub fn sum(&self, gauge: impl Fn(&Gauges) -> &AtomicU64) -> u64 {
        self.gauges.iter().map(|gauges| gauge(gauges).load(Ordering::Relaxed)).sum()
    }
}

impl Clock {
    /// The present stage.
    pub fn now(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Ramp,
            1 => Stage::Publishing,
            2 => Stage::Settling,
            _ => Stage::Over,
        }
    }

    /// Goes on to a later stage.
    pub fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// Publishing begins this long after the epoch.
    pub fn begin_publishing(&self, at: Duration) {
        self.publishing_micros.store(at.as_micros() as u64, Ordering::Release);
        self.advance(Stage::Publishing);
    }

    /// When publishing began, since the epoch.
    pub fn publishing_began(&self) -> Duration {
        Duration::from_micros(self.publishing_micros.load(Ordering::Acquire))
    }
}

impl Ledger {
    /// Nothing handed over in any of these channels.
    pub fn new(channels: u32) -> Ledger {
        let handed_over = (0..channels).map(|_| AtomicU32::new(0)).collect();
        Ledger { handed_over, uncertain: Mutex::default(), positions: Mutex::default() }
    }

    /// The next publication of the channel is this one, and on its way to the server.
    pub fn hand_over(&self, channel: u32, sequence: u32) {
        self.handed_over[channel as usize].store(sequence + 1, Ordering::Release);
    }

    /// The server refused it: the next publication is this one again.
    pub fn take_back(&self, channel: u32, sequence: u32) {
        self.handed_over[channel as usize].store(sequence, Ordering::Release);
    }

    /// So many publications of the channel were handed over, whatever was thought before.
    pub fn correct(&self, channel: u32, handed_over: u32) {
        self.handed_over[channel as usize].store(handed_over, Ordering::Release);
    }

    /// Those of which nobody knows whether the server took them, by channel and sequence.
    pub fn uncertain(&self) -> Vec<(u32, u32)> {
        let uncertain = self.uncertain.lock().unwrap_or_else(PoisonError::into_inner);
        uncertain.iter().copied().collect()
    }

    /// The server has said where a publication is.
    pub fn locate(&self, channel: u32, sequence: u32, position: &str) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        if positions.len() < POSITIONS_MAX {
            positions.insert((channel, sequence), position.into());
        }
    }

    /// How many of these are known to be where `is_there` says.
    pub fn count_at(
        &self,
        channel: u32,
        sequences: Range<u32>,
        is_there: impl Fn(&str) -> bool,
    ) -> u32 {
        if sequences.is_empty() {
            return 0;
        }
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let range = positions.range((channel, sequences.start)..(channel, sequences.end));
        range.filter(|(_, position)| is_there(position)).count() as u32
    }

    /// Nobody knows whether the server took it.
    pub fn doubt(&self, channel: u32, sequence: u32) {
        let mut uncertain = self.uncertain.lock().unwrap_or_else(PoisonError::into_inner);
        uncertain.insert((channel, sequence));
    }
}

/// Publications of which a run remembers where the server put them: some 20 MB at most.
pub const POSITIONS_MAX: usize = 1 << 18;

impl Published for Ledger {
    fn handed_over(&self, channel: u32) -> u32 {
        self.handed_over[channel as usize].load(Ordering::Acquire)
    }

    fn uncertain_among(&self, channel: u32, sequences: &Range<u32>) -> u64 {
        if sequences.is_empty() {
            return 0;
        }
        let uncertain = self.uncertain.lock().unwrap_or_else(PoisonError::into_inner);
        uncertain.range((channel, sequences.start)..(channel, sequences.end)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions are those of their channel and range, and no more of them are kept than the bound
    /// allows.
    #[test]
    fn positions_are_found_and_bounded() {
        let ledger = Ledger::new(2);
        for (channel, sequence, position) in [(0, 3, "a"), (0, 4, "b"), (0, 5, "b"), (1, 4, "b")] {
            ledger.locate(channel, sequence, position);
        }
        let count = |sequences| ledger.count_at(0, sequences, |position| position == "b");
        assert_eq!([0..9, 4..5, 3..4, 5..5].map(count), [2, 1, 0, 0]);
        let past = POSITIONS_MAX as u32 + 9;
        (0..past).for_each(|sequence| ledger.locate(1, sequence, "c"));
        assert_eq!(ledger.positions.lock().unwrap().len(), POSITIONS_MAX);
    }
}
