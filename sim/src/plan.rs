//! What a world is made of, all of it from one seed.

use std::time::Duration;

use stentor::{
    ids::ChannelName,
    io::sim::{Dice, Faults},
    policy::{Mode, PRESENCE_SUFFIX, Pattern, Policies, Policy, Retention, Slow, Who},
    session::Rules,
};

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything comes from.
    pub seed: u64,
    /// Shards at the beginning; a restart may change that.
    pub shards: u16,
    /// Slots of each shard's table.
    pub slots: u32,
    /// Places in each inbox.
    pub inbox: usize,
    /// Places in each ingress, and of each shard in the journal.
    pub places: usize,
    /// What goes wrong with connections.
    pub faults: Faults,
    /// Encoded bytes that a subscriber may fall behind.
    pub lag_bytes_max: usize,
    /// Whether a shard turns only if it has a reason to.
    pub sleepy: bool,
    /// Whether the clock jumps.
    pub jumpy: bool,
    /// Whether there is a journal.
    pub journal: bool,
    /// Whether the disk is full now and then.
    pub disk_full: bool,
    /// Whether the files of the journal are large enough to be written anew all the time.
    pub compacts: bool,
    /// Restarts on the way.
    pub restarts: usize,
    /// The channels.
    pub channels: Vec<ChannelPlan>,
    /// Clients.
    pub clients: usize,
    /// Bytes in the largest payload, about.
    pub payload_max: usize,
    /// Steps of the clock.
    pub steps: usize,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct ChannelPlan {
    /// Its name.
    pub name: ChannelName,
    /// How it lives.
    pub policy: Policy,
    /// The channel whose subscribers it counts.
    pub counts: Option<usize>,
}

impl ChannelPlan {
    /// Whether only the newest of each key is told.
    pub fn is_latest(&self) -> bool {
        self.policy.mode == Mode::Latest
    }
}

/// Keys in a channel of latest values.
pub const KEYS: u32 = 5;

impl Plan {
    /// The plan of this seed.
    pub fn new(seed: u64) -> Plan {
        let dice = &mut Dice::new(seed);
        let shards = 1 + dice.below(3) as u16;
        let journal = dice.one_in(2);
        let restarts = if dice.one_in(2) { 1 + dice.below(2) } else { 0 };
        Plan {
            seed,
            shards,
            slots: 6 + dice.below(20) as u32,
            inbox: dice.of(&[1, 1, 2, 5, 100]),
            places: dice.of(&[1, 2, 7, 64, 400]),
            faults: Faults::any(dice, 2000),
            lag_bytes_max: if dice.one_in(2) { 300 + dice.below(3000) } else { 1 << 40 },
            sleepy: !dice.one_in(3),
            jumpy: dice.one_in(4),
            journal,
            disk_full: dice.one_in(4),
            compacts: dice.one_in(2),
            restarts,
            channels: channels(dice),
            clients: 4 + dice.below(16),
            payload_max: dice.of(&[10, 60, 200, 900]),
            steps: 150 + dice.below(150),
        }
    }

    /// How all channels live.
    pub fn policies(&self) -> Policies {
        let own = self.channels.iter().filter(|channel| channel.counts.is_none());
        Policies::new(
            own.map(|channel| (Pattern::new(channel.name.as_str()), channel.policy.clone())),
        )
    }

    /// What sessions live by. Time-outs are short, so that they happen.
    pub fn rules(&self) -> Rules {
        Rules {
            handshake_timeout: Duration::from_millis(2000),
            ping_interval: Duration::from_millis(1500),
            pong_timeout: Duration::from_millis(1000),
            stall_timeout: Duration::from_millis(1200),
            policies: self.policies(),
            channels_max: 10_000,
            lag_bytes_max: self.lag_bytes_max,
            ..Rules::default()
        }
    }
}

/// One to five channels, some of which share a bucket and so have gaps between their offsets, and
/// those that tell how many read them.
fn channels(dice: &mut Dice) -> Vec<ChannelPlan> {
    let count = 1 + dice.below(5);
    let mut channels: Vec<ChannelPlan> = Vec::new();
    for number in 0..count {
        let shares = number > 0 && dice.one_in(2);
        let mut names = (0..).map(|n| name(&format!("c{number}.{n}")));
        let name = match channels.first().filter(|_| shares) {
            Some(first) => names.find(|name| name.bucket() == first.name.bucket()),
            None => names.next(),
        };
        let name = name.expect("there is no end of names");
        channels.push(ChannelPlan { name, policy: policy(dice), counts: None });
    }
    for counted in 0..count {
        if channels[counted].policy.presence {
            let name = name(&format!("{}{PRESENCE_SUFFIX}", channels[counted].name));
            let policy = Policy { mode: Mode::Latest, ..Policy::default() };
            channels.push(ChannelPlan { name, policy, counts: Some(counted) });
        }
    }
    channels
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).expect("a name")
}

fn policy(dice: &mut Dice) -> Policy {
    let all = Retention { count: 100_000, bytes: 1 << 40, age: None };
    let mode = if dice.one_in(4) { Mode::Latest } else { Mode::Log };
    let history = match (mode, dice.below(6)) {
        (Mode::Latest, _) => Retention { count: KEYS, ..all },
        (_, 0 | 1) => Retention::NONE,
        (_, 2) => Retention { count: 1 + dice.below(5) as u32, ..all },
        (_, 3) => Retention { count: 5 + dice.below(40) as u32, ..all },
        (_, 4) => Retention { bytes: 50 + dice.below(2000), ..all },
        (_, _) => {
            let age = Duration::from_millis(50 + dice.below(1500) as u64);
            Retention { age: Some(age), ..all }
        }
    };
    let slow = dice.of(&[Slow::Close, Slow::Skip, Slow::Latest]);
    Policy {
        mode,
        history,
        slow,
        presence: dice.one_in(4),
        subscribe: Who::Public,
        publish: Who::Public,
    }
}
