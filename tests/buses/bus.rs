//! What the stories want of a kind of bus, implemented once per kind.

use crate::broker::Broker;

/// A record for a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The channel that it is to come out on, one of [`Bus::channel`].
    pub channel: String,
    /// The payload, any bytes.
    pub payload: Vec<u8>,
}

/// A bus and its broker.
///
/// [`Bus::publish`] is called on other threads than the test's, too; everything else on the
/// test's own.
pub trait Bus: Send + Sized {
    /// What the input's text ends with, so that each record comes out on its channel: like
    /// `channel={subject}`; empty if the default does it. Where the bus can number, it does.
    const MAPPING: &str;

    /// Records that may be published at once without loss: a bus that cannot wait drops what the
    /// edge cannot hold, in the client or in the input's queue.
    const BURST: usize = 2000;

    /// Records, published at once, of which some are dropped where the bus cannot wait and the input's
    /// queue is one: more than its client keeps.
    const FLOOD: u64 = 20_000;

    /// Times that a story kills the broker, which may take long to come back.
    const KILLS: u64 = 4;

    /// Starts the broker, and makes what [`Bus::source`] reads. One that takes long to start may serve
    /// other tests as well, unless it is to be killed: see [`Bus::start_alone`].
    fn start() -> Self;

    /// The same with a broker that this test may kill.
    fn start_alone() -> Self {
        Self::start()
    }

    /// The broker, to kill it.
    fn broker(&mut self) -> &mut Broker;

    /// Where the broker listens.
    fn port(&mut self) -> u16 {
        self.broker().port()
    }

    /// Ends the broker: `kill -9`.
    fn kill(&mut self) {
        self.broker().kill();
    }

    /// Starts it again; returns when it serves what it had.
    fn restart(&mut self) {
        self.broker().restart();
    }

    /// The input's text up to its mapping, with the broker at this port of this machine, which may
    /// be that of a [`Proxy`](crate::proxy::Proxy): kind, address, and what to read, which is
    /// everything that [`Bus::publish`] publishes.
    fn source(&self, port: u16) -> String;

    /// The name of one of the [`CHANNELS`].
    fn channel(number: usize) -> String {
        assert!(number < CHANNELS);
        format!("ticks.{number}")
    }

    /// Publishes in order, over a connection of its own; returns when the bus has everything,
    /// where it can say so.
    fn publish(&mut self, records: &[Record]);
}

/// A bus with a log that numbers channels: over every death of the broker or the edge nothing is
/// lost or repeated, and edges number alike.
pub trait Log: Bus {
    /// Makes the bus forget what feeds this channel, but for the newest `keep` records.
    fn trim(&mut self, channel: &str, keep: usize);
}

/// Channels that a bus carries. A kind that reads several logs (streams, partitions) may give each
/// channel its own.
pub const CHANNELS: usize = 4;

/// `#[test]`s of the stories for every kind of bus, and, with `log`, those for a [`Log`] as well; with
/// `waits` those for a bus without one that waits for the edge, with `no_log` for one that does not.
macro_rules! stories {
    ($bus:ty) => {
        crate::bus::tests!($bus, every:
            subjects_become_channels,
            many_subscribers_get_everything,
            subscribers_outlive_the_broker,
            an_edge_waits_for_its_broker,
            bad_records_are_counted,
            a_publication_is_forwarded_to_every_edge,
            a_channel_of_a_bus_is_not_published_to,
        );
    };
    ($bus:ty, log) => {
        crate::bus::stories!($bus);
        crate::bus::tests!($bus, log:
            a_killed_broker_costs_nothing,
            a_killed_edge_costs_nothing,
            a_full_queue_holds_the_bus_back,
            a_subscriber_moves_between_edges,
            what_the_bus_forgot_is_told,
        );
    };
    ($bus:ty, waits) => {
        crate::bus::stories!($bus);
        crate::bus::tests!($bus, log: a_full_queue_holds_the_bus_back);
    };
    ($bus:ty, no_log) => {
        crate::bus::stories!($bus);
        crate::bus::tests!($bus, live: a_full_queue_is_counted);
    };
}

/// A test for each of the named stories.
macro_rules! tests {
    ($bus:ty, $kind:ident: $($story:ident),+ $(,)?) => {
        $(#[test] fn $story() { crate::stories::$kind::$story::<$bus>() })+
    };
}

pub(crate) use {stories, tests};
