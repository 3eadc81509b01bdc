//! What is derived from a record: the figures that every form of the report shows.
//!
//! They are rounded here, once, so that two forms never differ in a digit. A figure that was not
//! measured, or that would divide by nothing, is `None`.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    record::{ClientUse, Record, SATURATED, ServerUse},
    tally::Storm,
};

/// The figures of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Connections.
    pub connections: Connections,
    /// What was published.
    pub publications: Publications,
    /// What arrived.
    pub deliveries: Deliveries,
    /// Whose the latencies are.
    pub latency_of: Whose,
    /// From when a publication was due until a subscriber had it.
    pub latency_ms: Option<Percentiles>,
    /// What of that the load tester may have made, by reading others first.
    pub reading_ms: Option<Percentiles>,
    /// From when a publication was due until its last subscriber had it.
    pub spread_ms: Option<Spread>,
    /// The same of those that went to every channel.
    pub broadcast_spread_ms: Option<Spread>,
    /// From `connect` to a connection.
    pub connect_ms: Option<Percentiles>,
    /// From the request to the answer that grants it.
    pub handshake_ms: Option<Percentiles>,
    /// From that answer to the first publication.
    pub first_publication_ms: Option<Percentiles>,
    /// From the end of a connection until its subscriber had resumed, with all that it had missed.
    pub resume_ms: Option<Percentiles>,
    /// How the storms went, if there were any.
    pub storms: Option<Storms>,
    /// What the server used, if it was watched.
    pub server: Option<Server>,
    /// What the load tester used.
    pub client: Client,
}

/// What became of the connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Connections {
    /// Those that there were to be.
    pub requested: u64,
    /// Those that there were.
    pub established: u64,
    /// Those that never came about.
    pub failed: u64,
    /// Those that came back, beyond `established`.
    pub reconnected: u64,
    /// Those of them that asked for what they had missed.
    pub resumed: u64,
    /// Resumed in each second that was measured.
    pub resumed_per_second: Option<f64>,
    /// Share of the resumed that the server told that all would come.
    pub recovered_share: Option<f64>,
    /// Until the last was connected or given up.
    pub ramp_seconds: f64,
    /// Established in each second of the ramp.
    pub per_second: Option<f64>,
}

/// How those whom storms cut off came back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Storms {
    /// How many storms there were.
    pub number: u64,
    /// Subscribers that they cut off, all together.
    pub cut: u64,
    /// How many of these were live again before the run ended or another storm cut them.
    pub came_back: u64,
    /// In the slowest storm, until the last was live again.
    pub back_seconds: f64,
    /// In the same storm, how many came back each second.
    pub per_second: Option<f64>,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Publications {
    /// Those whose time came.
    pub due: u64,
    /// Those that the server took.
    pub published: u64,
    /// Those that it did not.
    pub failed: u64,
    /// The longest that one was due before it was sent.
    pub late_ms_max: f64,
}

/// What arrived, each publication counted for each subscriber.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deliveries {
    /// What subscribers were owed.
    pub expected: u64,
    /// What came.
    pub received: u64,
    /// What never came.
    pub lost: u64,
    /// What came again.
    pub duplicated: u64,
    /// What came again to a subscriber that had resumed behind it.
    pub repeated: u64,
    /// What was missing where a subscriber resumed, and no gap was announced.
    pub unannounced_gap: u64,
    /// What was missing though all was said to be recovered.
    pub false_recovered: u64,
    /// Announced gaps that were not what was missing.
    pub false_gap: u64,
    /// What came after a later one.
    pub reordered: u64,
    /// What was damaged.
    pub corrupt: u64,
    /// What belonged to another channel or run.
    pub misdirected: u64,
    /// Connections that ended though nobody had asked for it.
    pub unexpected_closes: u64,
    /// Slow readers that were closed, where the plan allows it.
    pub slow_closes: u64,
    /// Gaps that the server announced.
    pub gaps: u64,
    /// What did not come because it was in one of them.
    pub skipped: u64,
    /// What came from the server's history.
    pub recovered: u64,
    /// From the first due time until nothing was expected any more.
    pub measured_seconds: f64,
    /// Received in each of these seconds.
    pub per_second: Option<f64>,
}

/// Whose the latencies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Whose {
    /// The server's.
    #[serde(rename = "server")]
    Server,
    /// Partly the load tester's, which had more to do than it could.
    #[serde(rename = "client was saturated: an upper bound")]
    UpperBound,
}

/// Percentiles, in milliseconds, right to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half were at most this.
    pub p50: f64,
    /// 90 % were at most this.
    pub p90: f64,
    /// 99 % were at most this.
    pub p99: f64,
    /// 99.9 % were at most this.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// How long publications took until their last subscriber had them, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the publications took at most this.
    pub p50: f64,
    /// The longest.
    pub max: f64,
}

/// What the server used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Server {
    /// Processor time while publications were due, until the last had arrived.
    pub cpu_seconds: f64,
    /// The same for each delivery, in microseconds.
    pub cpu_us_per_delivery: Option<f64>,
    /// The largest resident memory seen.
    pub rss_bytes: u64,
    /// What of it came with the connections, for each of them.
    pub rss_bytes_per_connection: Option<f64>,
    /// The kernel's memory of all connections.
    pub kernel_bytes: u64,
    /// The same for each connection.
    pub kernel_bytes_per_connection: Option<f64>,
    /// Whether the kernel's memory is that of both ends of each connection.
    pub kernel_is_both_ends: bool,
    /// Whether it had more to do than it could.
    pub saturated: bool,
    /// Share of the seconds in which that was so, or of their deliveries if that is more.
    pub saturated_share: f64,
}

/// What the load tester used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Client {
    /// Processor time while publications were due, until the last had arrived.
    pub cpu_seconds: f64,
    /// The largest resident memory seen.
    pub rss_bytes: u64,
    /// What of it came with the connections, for each of them.
    pub rss_bytes_per_connection: Option<f64>,
    /// Whether it, or an agent, had more to do than it could.
    pub saturated: bool,
    /// Share of the seconds in which that was so of this process, or of their deliveries if that
    /// is more.
    pub saturated_share: f64,
}

impl Figures {
    /// The figures of a run.
    pub fn of(record: &Record) -> Figures {
        let times = &record.tally.times;
        let established = record.tally.connections.established;
        let received = record.tally.deliveries.received;
        let client = client(record, &record.client);
        let [usual, broadcasts] = record.spreads().map(|micros| Spread::of(&micros));
        Figures {
            connections: connections(record),
            publications: publications(record),
            deliveries: deliveries(record),
            latency_of: if client.saturated { Whose::UpperBound } else { Whose::Server },
            latency_ms: Percentiles::of(&times.delivery),
            reading_ms: Percentiles::of(&times.reading),
            spread_ms: usual,
            broadcast_spread_ms: broadcasts,
            connect_ms: Percentiles::of(&times.connect),
            handshake_ms: Percentiles::of(&times.handshake),
            first_publication_ms: Percentiles::of(&times.first),
            resume_ms: Percentiles::of(&times.resume),
            storms: Storms::of(&record.tally.connections.storms),
            server: record.server.as_ref().map(|server| Server::of(server, established, received)),
            client,
        }
    }
}

impl Percentiles {
    /// Those of a histogram of microseconds; none of an empty one.
    pub fn of(micros: &Histogram<u64>) -> Option<Percentiles> {
        if micros.is_empty() {
            return None;
        }
        let at = |quantile| millis(micros.value_at_quantile(quantile));
        let max = millis(micros.max());
        Some(Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max })
    }
}

impl Spread {
    /// Of publications that took so many microseconds each, in rising order; none of no
    /// publications.
    fn of(micros: &[u32]) -> Option<Spread> {
        let max = *micros.last()?;
        let half = micros[(micros.len() - 1) / 2];
        Some(Spread { p50: millis(half.into()), max: millis(max.into()) })
    }
}

impl Storms {
    fn of(storms: &[Storm]) -> Option<Storms> {
        let slowest = storms.iter().max_by_key(|storm| storm.last_micros)?;
        let back = Duration::from_micros(slowest.last_micros);
        Some(Storms {
            number: storms.len() as u64,
            cut: storms.iter().map(|storm| storm.cut).sum(),
            came_back: storms.iter().map(|storm| storm.came_back).sum(),
            back_seconds: seconds(back),
            per_second: rate(slowest.came_back, back),
        })
    }
}

impl Server {
    fn of(server: &ServerUse, established: u64, received: u64) -> Server {
        Server {
            cpu_seconds: seconds(server.cpu),
            cpu_us_per_delivery: ratio(server.cpu.as_secs_f64() * 1e6, received as f64)
                .map(|micros| rounded(micros, 3)),
            rss_bytes: server.resident,
            rss_bytes_per_connection: per_connection(server.grown(), established),
            kernel_bytes: server.kernel,
            kernel_bytes_per_connection: per_connection(server.kernel, established),
            kernel_is_both_ends: server.kernel_is_both_ends,
            saturated: server.saturated_share >= SATURATED,
            saturated_share: rounded(server.saturated_share, 3),
        }
    }
}

fn connections(record: &Record) -> Connections {
    let connections = &record.tally.connections;
    let ramp_seconds = seconds(record.tally.connections.ramp);
    Connections {
        requested: connections.requested,
        established: connections.established,
        failed: connections.failed,
        reconnected: connections.reconnected,
        resumed: connections.resumed,
        resumed_per_second: rate(connections.resumed, record.measured),
        recovered_share: ratio(connections.recovered as f64, connections.resumed as f64)
            .map(|share| rounded(share, 4)),
        ramp_seconds,
        per_second: rate(connections.established, record.tally.connections.ramp),
    }
}

fn publications(record: &Record) -> Publications {
    let publications = &record.publications;
    Publications {
        due: publications.due,
        published: publications.published,
        failed: publications.failed,
        late_ms_max: millis(publications.late_micros_max),
    }
}

fn deliveries(record: &Record) -> Deliveries {
    let deliveries = &record.tally.deliveries;
    Deliveries {
        expected: deliveries.expected,
        received: deliveries.received,
        lost: deliveries.lost,
        duplicated: deliveries.duplicated,
        repeated: deliveries.repeated,
        unannounced_gap: deliveries.unannounced_gap,
        false_recovered: deliveries.false_recovered,
        false_gap: deliveries.false_gap,
        reordered: deliveries.reordered,
        corrupt: deliveries.corrupt,
        misdirected: deliveries.misdirected,
        unexpected_closes: deliveries.unexpected_closes,
        slow_closes: deliveries.slow_closes,
        gaps: deliveries.gaps,
        skipped: deliveries.skipped,
        recovered: deliveries.recovered,
        measured_seconds: seconds(record.measured),
        per_second: rate(deliveries.received, record.measured),
    }
}

fn client(record: &Record, client: &ClientUse) -> Client {
    let grown = client.resident.saturating_sub(client.resident_before);
    Client {
        cpu_seconds: seconds(client.cpu),
        rss_bytes: client.resident,
        rss_bytes_per_connection: per_connection(grown, record.tally.connections.established),
        saturated: record.is_client_saturated(),
        saturated_share: rounded(client.saturated_share, 3),
    }
}

fn per_connection(bytes: u64, connections: u64) -> Option<f64> {
    ratio(bytes as f64, connections as f64).map(|bytes| rounded(bytes, 1))
}

fn rate(number: u64, time: Duration) -> Option<f64> {
    ratio(number as f64, time.as_secs_f64()).map(|rate| rounded(rate, 1))
}

fn ratio(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to)
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

fn seconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64(), 3)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let power = 10f64.powi(digits);
    (value * power).round() / power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// What is derived is derived from the right two numbers.
    ///
    /// Method: the sample's round numbers, divided by hand.
    #[test]
    fn ratios_are_of_the_right_numbers() {
        let figures = Figures::of(&sample::million());
        assert_eq!(figures.connections.per_second, Some(30_000.0));
        assert_eq!(figures.deliveries.per_second, Some(125_000.0));
        let server = figures.server.expect("it was watched");
        assert_eq!(server.cpu_us_per_delivery, Some(3.06));
        assert_eq!(server.rss_bytes_per_connection, Some(73.0));
        assert_eq!(server.kernel_bytes_per_connection, Some(9_100.0));
        assert_eq!(figures.client.rss_bytes_per_connection, Some(81.5));
    }

    /// The last subscriber's time is the largest of a publication's, and broadcasts count apart.
    #[test]
    fn spreads_of_broadcasts_count_apart() {
        let figures = Figures::of(&sample::million());
        assert_eq!(figures.spread_ms, Some(Spread { p50: 209.0, max: 239.0 }));
        assert_eq!(figures.broadcast_spread_ms, Some(Spread { p50: 5_800.0, max: 5_900.0 }));
    }

    /// How long a storm lasted is said of the slowest, and so is how many a second came back.
    #[test]
    fn the_slowest_storm_counts() {
        let mut record = sample::million();
        assert_eq!(Figures::of(&record).storms, None);
        record.tally.connections.storms = vec![
            Storm { cut: 100, came_back: 100, last_micros: 400_000 },
            Storm { cut: 100, came_back: 90, last_micros: 500_000 },
        ];
        let want = Storms {
            number: 2,
            cut: 200,
            came_back: 190,
            back_seconds: 0.5,
            per_second: Some(180.0),
        };
        assert_eq!(Figures::of(&record).storms, Some(want));
    }

    /// Who was told that all would come is a share of those who asked.
    #[test]
    fn what_was_recovered_is_a_share_of_what_was_resumed() {
        let mut record = sample::million();
        assert_eq!(Figures::of(&record).connections.recovered_share, None);
        let connections = &mut record.tally.connections;
        (connections.resumed, connections.recovered) = (720, 540);
        let Connections { resumed_per_second, recovered_share, .. } =
            Figures::of(&record).connections;
        assert_eq!((resumed_per_second, recovered_share), (Some(10.0), Some(0.75)));
    }

    #[test]
    fn what_nobody_measured_has_no_figure() {
        let figures = Figures::of(&sample::silent());
        assert_eq!(figures.latency_ms, None);
        assert_eq!(figures.spread_ms, None);
        assert_eq!(figures.connections.per_second, None);
        assert_eq!(figures.deliveries.per_second, None);
        assert_eq!(figures.server.expect("watched").cpu_us_per_delivery, None);
        assert_eq!(figures.client.rss_bytes_per_connection, None);
    }

    /// One saturated machine is enough to spoil the latencies of all.
    #[test]
    fn a_saturated_client_or_agent_takes_the_latency_from_the_server() {
        let mut record = sample::million();
        assert_eq!(Figures::of(&record).latency_of, Whose::Server);
        record.agents = sample::broken().agents;
        assert_eq!(Figures::of(&record).latency_of, Whose::Server);
        record.agents[0].is_saturated = true;
        assert_eq!(Figures::of(&record).latency_of, Whose::UpperBound);
        record.agents.clear();
        record.client.saturated_share = SATURATED;
        assert_eq!(Figures::of(&record).latency_of, Whose::UpperBound);
    }
}
