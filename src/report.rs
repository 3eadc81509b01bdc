//! What shards are asked, and what they answer: about channels, about connections, and about those
//! who lag.
//!
//! Vocabulary: of ours it imports only `close`, `frame`, `ids` and `policy`. Asking delays a shard by a walk
//! over what it is asked about, so it is for people and for scrapes, not for programs that poll
//! every second.
#![forbid(unsafe_code)]

use std::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    close::CloseReason,
    frame::Format,
    ids::{ChannelName, ConnectionId, Position, Slot},
    policy::PatternId,
};

/// Takes an answer, on the shard's thread; must not wait.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// A question to one shard.
pub enum Question {
    /// Channels that the shard is the home of, in the order of their names: of those that begin with
    /// `prefix` and come behind `after`, at most `limit`.
    Channels {
        /// What their names begin with.
        prefix: String,
        /// The last name of the answer before.
        after: Option<ChannelName>,
        /// How many.
        limit: usize,
        /// Takes the answer.
        reply: Reply<Vec<ChannelReport>>,
    },
    /// One channel; its home is asked. `None` if nobody reads it and nothing of it is kept.
    Channel {
        /// Which.
        name: ChannelName,
        /// Takes the answer.
        reply: Reply<Option<ChannelReport>>,
    },
    /// Channels that the shard is the home of, the busiest first.
    Busiest {
        /// How many at most.
        limit: usize,
        /// Takes the answer.
        reply: Reply<Vec<BusyChannel>>,
    },
    /// How far this shard's subscribers lag.
    Lag(Reply<LagReport>),
    /// How far this shard's subscribers of one channel lag.
    ChannelLag {
        /// Which.
        name: ChannelName,
        /// Takes the answer.
        reply: Reply<ChannelLag>,
    },
    /// Connections in the order of their slots, from one on. The answer stops early, and says where to
    /// go on, when it has taken long enough.
    Connections {
        /// Which.
        wanted: Wanted,
        /// Where to begin.
        from: Slot,
        /// How many at most.
        limit: usize,
        /// Takes the answer.
        reply: Reply<ConnectionsReport>,
    },
    /// One connection; `None` if it is gone.
    Connection {
        /// Which.
        id: ConnectionId,
        /// Closes it for this reason, after it was looked at.
        close: Option<CloseReason>,
        /// Takes the answer.
        reply: Reply<Option<ConnectionReport>>,
    },
    /// Read the channels of probes from now on, and note what comes.
    Watch {
        /// Which.
        channels: Arc<[ChannelName]>,
        /// Where it is noted.
        seen: Arc<Seen>,
        /// Takes the answer, once everything that is published there will come.
        reply: Reply<()>,
    },
}

/// The last probe of each home that a shard was given, as a subscriber would have been: written by
/// that shard.
#[derive(Debug)]
pub struct Seen(Box<[AtomicU64]>);

impl Seen {
    /// None yet, of so many homes.
    pub fn new(homes: usize) -> Self {
        Seen((0..homes).map(|_| AtomicU64::new(0)).collect())
    }

    /// The shard was given the probe of this home with this offset.
    pub fn note(&self, home: usize, offset: u64) {
        if let Some(last) = self.0.get(home) {
            last.store(offset, Relaxed);
        }
    }

    /// The offset of the last probe of this home.
    pub fn last(&self, home: usize) -> u64 {
        self.0.get(home).map_or(0, |last| last.load(Relaxed))
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Channels { prefix, .. } => write!(f, "Channels({prefix}*)"),
            Question::Channel { name, .. } => write!(f, "Channel({name})"),
            Question::Busiest { limit, .. } => write!(f, "Busiest({limit})"),
            Question::Lag(_) => f.write_str("Lag"),
            Question::ChannelLag { name, .. } => write!(f, "ChannelLag({name})"),
            Question::Connections { wanted, from, .. } => {
                write!(f, "Connections({wanted:?} from {})", from.0)
            }
            Question::Connection { id, close, .. } => write!(f, "Connection({id}, {close:?})"),
            Question::Watch { channels, .. } => write!(f, "Watch({} homes)", channels.len()),
        }
    }
}

/// A channel as its home knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelReport {
    /// Its name.
    pub name: ChannelName,
    /// Its subscribers, over all shards.
    pub subscribers: u64,
    /// The position of its newest publication, or where its numbering stood when it was made.
    pub position: Position,
    /// Publications that are kept; in a channel of latest values, keys.
    pub kept: u64,
    /// Payload bytes of those.
    pub kept_bytes: u64,
}

/// How busy a channel is.
#[derive(Clone, Debug, PartialEq)]
pub struct BusyChannel {
    /// Its name.
    pub name: ChannelName,
    /// Its subscribers, over all shards.
    pub subscribers: u64,
    /// Publications per second of late.
    pub publications_per_second: f64,
}

impl BusyChannel {
    /// Deliveries per second of late, if its subscribers were the same.
    pub fn deliveries_per_second(&self) -> f64 {
        self.publications_per_second * self.subscribers as f64
    }

    /// Which comes first in a list of the busiest: by deliveries, then publications, then subscribers,
    /// then the name.
    pub fn compare(one: &Self, other: &Self) -> Ordering {
        let by = |of: fn(&Self) -> f64| of(other).total_cmp(&of(one));
        by(Self::deliveries_per_second)
            .then_with(|| by(|it| it.publications_per_second))
            .then_with(|| other.subscribers.cmp(&one.subscribers))
            .then_with(|| one.name.cmp(&other.name))
    }
}

/// Upper bounds of the buckets for lag in publications; above the last is one more.
pub const LAG_BUCKETS: [u64; 8] = [0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// Upper bounds of the buckets for lag in milliseconds; above the last is one more.
pub const LAG_BUCKETS_MS: [u64; 8] = [0, 10, 100, 1_000, 5_000, 30_000, 300_000, 3_600_000];

/// The slowest that a report names.
pub const SLOWEST_MAX: usize = 10;

/// How far the subscribers of one shard, or of all, lag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LagReport {
    /// An entry per pattern that has subscribers.
    pub patterns: Vec<PatternLag>,
    /// The slowest, by publications, the slowest first; at most [`SLOWEST_MAX`].
    pub slowest: Vec<SlowSubscriber>,
}

/// How far the subscriptions to one pattern's channels lag behind their heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternLag {
    /// The pattern.
    pub pattern: PatternId,
    /// How many subscriptions lag by how many publications (see [`LAG_BUCKETS`]).
    pub publications: [u64; LAG_BUCKETS.len() + 1],
    /// The sum of those lags.
    pub publications_sum: u64,
    /// How many lag by how many milliseconds (see [`LAG_BUCKETS_MS`]).
    pub ms: [u64; LAG_BUCKETS_MS.len() + 1],
    /// The sum of those lags.
    pub ms_sum: u64,
}

/// A subscriber that lags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowSubscriber {
    /// Where it connects from, if the kernel can tell.
    pub address: Option<SocketAddr>,
    /// What it reads.
    pub channel: ChannelName,
    /// How it reads it.
    pub format: Format,
    /// Publications that it has yet to be sent; of one that is to skip, those that are kept.
    pub publications: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// How long ago the oldest of those was published, in milliseconds.
    pub ms: u64,
}

impl PatternLag {
    /// No subscriptions.
    pub fn new(pattern: PatternId) -> Self {
        PatternLag {
            pattern,
            publications: Default::default(),
            publications_sum: 0,
            ms: Default::default(),
            ms_sum: 0,
        }
    }

    /// Counts `subscriptions` with this lag.
    pub fn add(&mut self, subscriptions: u64, publications: u64, ms: u64) {
        self.publications[LAG_BUCKETS.partition_point(|&bound| bound < publications)] +=
            subscriptions;
        self.publications_sum += subscriptions * publications;
        self.ms[LAG_BUCKETS_MS.partition_point(|&bound| bound < ms)] += subscriptions;
        self.ms_sum += subscriptions * ms;
    }

    /// Adds another shard's count.
    pub fn merge(&mut self, other: &PatternLag) {
        let pairs = self.publications.iter_mut().zip(&other.publications);
        pairs.chain(self.ms.iter_mut().zip(&other.ms)).for_each(|(mine, theirs)| *mine += theirs);
        self.publications_sum += other.publications_sum;
        self.ms_sum += other.ms_sum;
    }
}

/// How a peer is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// What it wants was not granted yet.
    Handshake,
    /// One channel, or an echo, over WebSocket.
    WebSocket,
    /// `stentor.v1`: many channels over WebSocket.
    Commands,
    /// Server-sent events, of one channel or several.
    Sse,
    /// Long-polls.
    Poll,
    /// It is being closed.
    Closing,
}

impl Transport {
    /// All of them, in the order of their numbers.
    pub const ALL: [Transport; 6] = [
        Transport::Handshake,
        Transport::WebSocket,
        Transport::Commands,
        Transport::Sse,
        Transport::Poll,
        Transport::Closing,
    ];

    /// Its number, for tables with an entry for each.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name used in answers and requests.
    pub fn label(self) -> &'static str {
        match self {
            Transport::Handshake => "handshake",
            Transport::WebSocket => "websocket",
            Transport::Commands => "stentor.v1",
            Transport::Sse => "sse",
            Transport::Poll => "poll",
            Transport::Closing => "closing",
        }
    }
}

/// Which connections are asked for: those that are all of what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// From this address, on whatever port.
    pub address: Option<IpAddr>,
    /// Reading this channel.
    pub channel: Option<ChannelName>,
    /// Spoken to in this way.
    pub transport: Option<Transport>,
}

/// Some of a shard's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionsReport {
    /// In the order of their slots.
    pub connections: Vec<ConnectionReport>,
    /// Where to go on; `None` if all were looked at.
    pub next: Option<Slot>,
}

/// Channels that a report names of each connection in a list.
pub const LISTED_CHANNELS_MAX: usize = 3;

/// Channels that a report names of one connection.
pub const SHOWN_CHANNELS_MAX: usize = 128;

/// A connection as its shard knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Which one.
    pub id: ConnectionId,
    /// Where it comes from, if the kernel can tell.
    pub address: Option<SocketAddr>,
    /// Whose token it came with, if it came with one that says so.
    pub subject: Option<Box<str>>,
    /// How it is spoken to.
    pub transport: Transport,
    /// When it was accepted, in milliseconds since 1970; to a tenth of a second.
    pub since_ms: u64,
    /// Whether its socket is full.
    pub blocked: bool,
    /// Bytes for it alone that wait until its socket takes them.
    pub pending_bytes: u64,
    /// Bytes that it has sent of something that is not whole yet.
    pub received_bytes: u64,
    /// How many channels it reads.
    pub subscriptions: u64,
    /// Some of these, by name.
    pub channels: Vec<SubscriptionReport>,
    /// How far it lags, over all its channels.
    pub lag: Lag,
}

/// One channel that a connection reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionReport {
    /// Which.
    pub channel: ChannelName,
    /// The last position that was sent; none before it has begun.
    pub position: Option<Position>,
    /// How far it lags.
    pub lag: Lag,
}

/// How far a reader is behind the head of what it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Publications that it has yet to be sent.
    pub publications: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// How long ago the oldest of those was published, in milliseconds.
    pub ms: u64,
}

impl Lag {
    /// This and that: the sums, and the older of the two.
    pub fn and(self, other: Lag) -> Lag {
        Lag {
            publications: self.publications + other.publications,
            bytes: self.bytes + other.bytes,
            ms: self.ms.max(other.ms),
        }
    }
}

/// How far one shard's subscribers of one channel lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelLag {
    /// Its subscribers here, by format (see [`Format::index`]).
    pub subscribers: [u64; Format::ALL.len()],
    /// Those that have yet to be sent something.
    pub behind: u64,
    /// How far the one that lags most does, each figure by itself, among those that were looked at.
    pub most: Lag,
}
