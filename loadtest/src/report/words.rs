//! The report in words: lines of a name and what is to be said of it, for the table and the page.

use crate::{
    record::{AgentNote, Record},
    units::{bytes, count, millis, number, percent, plural, seconds},
};

use super::{
    Figures, Percentiles, Spread, Verdict, Whose,
    figures::{Client, Server, Storms},
    verdict::{Outcome, faults},
};

/// A line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub name: &'static str,
    /// What is to be said of it.
    pub says: String,
}

/// How long something took: the columns [`TIMES`] of a line, empty where they have no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLine {
    /// What took so long.
    pub name: &'static str,
    /// Its percentiles.
    pub columns: [String; 5],
}

/// The columns of a [`TimeLine`].
pub const TIMES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

/// Where subscribers connected, and what is not known of who was there.
pub fn target(record: &Record) -> String {
    match record.is_verified {
        Some(false) => format!("{} (certificates were not verified)", record.target),
        _ => record.target.clone(),
    }
}

/// What was connected, published and delivered.
pub fn traffic(figures: &Figures) -> Vec<Line> {
    let Figures { connections, publications, deliveries, .. } = figures;
    let came_back = match connections.reconnected {
        0 => String::new(),
        times => format!("; {} came back", count(times)),
    };
    let connections = format!(
        "{} of {} in {}{}{came_back}",
        count(connections.established),
        count(connections.requested),
        seconds(connections.ramp_seconds),
        per_second(connections.per_second),
    );
    let late = match publications.due {
        0 => String::new(),
        _ => format!(", each sent within {} of its due time", millis(publications.late_ms_max)),
    };
    let publications =
        format!("{} of {}{late}", count(publications.published), count(publications.due));
    let closed = match deliveries.slow_closes {
        0 => String::new(),
        times => format!("; {} closed, as the plan allows", plural(times, "slow reader")),
    };
    let deliveries = format!(
        "{} of {} in {}{}{closed}",
        count(deliveries.received),
        count(deliveries.expected),
        seconds(deliveries.measured_seconds),
        per_second(deliveries.per_second),
    );
    let mut lines = vec![
        Line { name: "connections", says: connections },
        Line { name: "publications", says: publications },
        Line { name: "deliveries", says: deliveries },
    ];
    lines.extend(resumption(figures));
    lines
}

/// How storms went, who resumed, and what the server could not give them.
fn resumption(figures: &Figures) -> Vec<Line> {
    let Figures { connections, deliveries, storms, .. } = figures;
    let mut lines = Vec::new();
    if let Some(Storms { number, cut, came_back, back_seconds, per_second: rate }) = *storms {
        let says = format!(
            "{}, {} cut off; {} came back, the last after {}{}",
            count(number),
            count(cut),
            count(came_back),
            seconds(back_seconds),
            per_second(rate),
        );
        lines.push(Line { name: "storms", says });
    }
    if connections.resumed > 0 {
        let says = format!(
            "{} times{}, {} recovered; {} from the history",
            count(connections.resumed),
            per_second(connections.resumed_per_second),
            percent(connections.recovered_share.unwrap_or(0.0)),
            plural(deliveries.recovered, "publication"),
        );
        lines.push(Line { name: "resumed", says });
    }
    if deliveries.gaps > 0 {
        let skipped = plural(deliveries.skipped, "publication");
        lines.push(Line {
            name: "announced gaps",
            says: format!("{}, with {skipped}", count(deliveries.gaps)),
        });
    }
    lines
}

/// How long things took, of those that happened.
pub fn times(figures: &Figures) -> Vec<TimeLine> {
    let all = [
        ("delivery latency", figures.latency_ms.map(of_percentiles)),
        ("of that, reading at most", figures.reading_ms.map(of_percentiles)),
        ("until the last subscriber", figures.spread_ms.map(of_spread)),
        ("broadcasts, until the last", figures.broadcast_spread_ms.map(of_spread)),
        ("connecting", figures.connect_ms.map(of_percentiles)),
        ("handshake", figures.handshake_ms.map(of_percentiles)),
        ("first publication", figures.first_publication_ms.map(of_percentiles)),
        ("away, until all had come", figures.resume_ms.map(of_percentiles)),
    ];
    let happened = all.into_iter().filter_map(|(name, columns)| Some((name, columns?)));
    happened.map(|(name, columns)| TimeLine { name, columns }).collect()
}

/// What would be misread in those lines.
pub fn note_on_times(figures: &Figures) -> Option<&'static str> {
    figures.first_publication_ms.map(|_| {
        "First publication: from the handshake on, and so with the wait until something was due."
    })
}

/// What server and load tester used, and whether that was all they could.
pub fn use_of_machines(record: &Record, figures: &Figures) -> Vec<Line> {
    let established = figures.connections.established;
    let mut lines = match &figures.server {
        Some(server) => server_lines(server, established),
        None => vec![Line { name: "server", says: "was not watched".into() }],
    };
    let is_sum = !record.agents.is_empty();
    lines.extend(client_lines(&figures.client, established, is_sum));
    lines.extend(record.agents.iter().map(|note| Line { name: "agent", says: agent(note) }));
    lines
}

/// What went wrong, by kind, and then in the words of those who noticed.
pub fn faults_in_words(record: &Record) -> Vec<Line> {
    let fault = faults(record).into_iter();
    let mut lines: Vec<Line> =
        fault.map(|fault| Line { name: fault.kind, says: count(fault.times) }).collect();
    let sources = [
        ("connecting", &record.tally.connections.failures),
        ("publishing", &record.publications.failures),
        ("delivering", &record.tally.deliveries.examples),
    ];
    for (name, names) in sources {
        let line = |(index, (text, times))| Line {
            name: if index == 0 { name } else { "" },
            says: format!("{} × {}", count(times), printable(text)),
        };
        lines.extend(names.iter().enumerate().map(line));
    }
    lines
}

/// Whose latencies these are not, if they are not the server's.
pub fn caution(figures: &Figures) -> Option<&'static str> {
    match figures.latency_of {
        Whose::Server => None,
        Whose::UpperBound => Some(
            "The client was saturated: the latencies are an upper bound, and not the server's.",
        ),
    }
}

/// How the objectives were met, a line for each that was not.
pub fn objectives(verdict: &Verdict) -> Vec<String> {
    let Some(slo) = &verdict.slo else { return Vec::new() };
    if verdict.misses.is_empty() {
        return vec![format!("objectives met: {slo}")];
    }
    let misses = verdict.misses.iter();
    let told = misses.map(|it| {
        format!(
            "objective missed: {} was {}; at most {} was allowed",
            it.objective, it.measured, it.limit
        )
    });
    told.collect()
}

/// The run in one line: that nothing was lost, or what went wrong.
pub fn conclusion(record: &Record, verdict: &Verdict) -> String {
    let deliveries = &record.tally.deliveries;
    let received = count(deliveries.received);
    let arrived = format!("{received} of {} deliveries", count(deliveries.expected));
    let found: Vec<String> = faults(record)
        .iter()
        .map(|fault| format!("{} {}", count(fault.times), fault.kind))
        .collect();
    match (verdict.outcome, deliveries.expected) {
        (Outcome::Faulty, _) => format!("failed: {} ({arrived})", found.join(", ")),
        (Outcome::Interrupted, _) => format!("interrupted; nothing lost until then: {arrived}"),
        (_, 0) => "nothing was to be delivered, and nothing was".into(),
        (Outcome::Missed, _) => format!("objectives missed, but nothing lost: {arrived}"),
        (Outcome::Passed, _) => format!("nothing lost: {arrived}"),
    }
}

/// The machine that the run was on.
pub fn machine(record: &Record) -> String {
    let machine = &record.machine;
    let kind = match &machine.cpu_model[..] {
        "" => String::new(),
        kind => format!(" ({})", printable(kind)),
    };
    format!(
        "{}{kind}, {} of memory, Linux {}",
        plural(machine.cpus.into(), "processor"),
        bytes(machine.memory_bytes as f64),
        machine.kernel,
    )
}

/// What is to be said of resident memory per connection, of too few of them to tell it from what
/// any program takes when it begins to work.
pub fn warm_up(established: u64) -> &'static str {
    if established < WARM { ", mostly warm-up" } else { "" }
}

/// A text from elsewhere, without what would move a terminal's cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn server_lines(server: &Server, established: u64) -> Vec<Line> {
    let each = server.cpu_us_per_delivery;
    let each = each.map_or(String::new(), |micros| format!(": {} µs per delivery", number(micros)));
    let cpu = format!("{}{each}", seconds(server.cpu_seconds));
    let ends = if server.kernel_is_both_ends { ", both ends" } else { "" };
    let kernel = memory(server.kernel_bytes, server.kernel_bytes_per_connection);
    let resident = memory(server.rss_bytes, server.rss_bytes_per_connection);
    let resident = format!("{resident}{}", warm_up(established));
    vec![
        Line { name: "server CPU", says: cpu },
        Line { name: "server memory", says: resident },
        Line { name: "kernel memory", says: format!("{kernel}{ends}") },
        Line { name: "server load", says: load(server.saturated, server.saturated_share) },
    ]
}

fn client_lines(client: &Client, established: u64, is_sum: bool) -> Vec<Line> {
    let all = if is_sum { " (the sum of coordinator and agents)" } else { "" };
    let most = if is_sum { " (the worst of coordinator and agents)" } else { "" };
    let resident = memory(client.rss_bytes, client.rss_bytes_per_connection);
    let load = load(client.saturated, client.saturated_share);
    vec![
        Line { name: "client CPU", says: format!("{}{all}", seconds(client.cpu_seconds)) },
        Line { name: "client memory", says: format!("{resident}{}{all}", warm_up(established)) },
        Line { name: "client load", says: format!("{load}{most}") },
    ]
}

fn agent(note: &AgentNote) -> String {
    let offset = millis(note.clock_offset_micros.unsigned_abs() as f64 / 1e3);
    let side = if note.clock_offset_micros < 0 { "behind" } else { "ahead" };
    let error = millis(note.clock_error_micros as f64 / 1e3);
    let load = if note.is_saturated { "saturated" } else { "not saturated" };
    format!("{}: {load}; its clock {offset} {side}, give or take {error}", note.address)
}

fn load(is_saturated: bool, share: f64) -> String {
    match (is_saturated, share) {
        (true, _) => format!("saturated in {} of the seconds or deliveries", percent(share)),
        (false, 0.0) => "never saturated".into(),
        (false, _) => format!("not saturated (in {} of the seconds or deliveries)", percent(share)),
    }
}

fn memory(all: u64, per_connection: Option<f64>) -> String {
    let each = per_connection.map(|each| format!(": {} per connection", bytes(each)));
    format!("{}{}", bytes(all as f64), each.unwrap_or_default())
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or(String::new(), |rate| format!(" ({}/s)", number(rate)))
}

fn of_percentiles(times: Percentiles) -> [String; 5] {
    [times.p50, times.p90, times.p99, times.p999, times.max].map(millis)
}

fn of_spread(spread: Spread) -> [String; 5] {
    let none = String::new;
    [millis(spread.p50), none(), none(), none(), millis(spread.max)]
}

/// From so many connections on, resident memory per connection is theirs.
const WARM: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::sample, slo::Miss};

    /// A figure per connection is one of connections only where there are enough of them.
    #[test]
    fn warm_up_is_not_taken_for_memory_of_connections() {
        assert_eq!([0, 9_999].map(warm_up), [", mostly warm-up"; 2]);
        assert_eq!([10_000, 1_000_000].map(warm_up), [""; 2]);
    }

    #[test]
    fn a_server_cannot_steer_the_terminal() {
        let mut record = sample::million();
        record.publications.failures.count("503 \u{1b}[2Jgone\r\n", 1);
        let line =
            Line { name: "publishing", says: "1 × 503 \u{fffd}[2Jgone\u{fffd}\u{fffd}".into() };
        assert_eq!(faults_in_words(&record), [line]);
    }

    #[test]
    fn a_missed_objective_is_not_drowned_by_good_news() {
        let record = sample::million();
        let miss = Miss { objective: "p99", limit: "1 s".into(), measured: "5.63 s".into() };
        let verdict = Verdict::of(&record, Some("p99=1s".into()), vec![miss]);
        assert_eq!(
            objectives(&verdict),
            ["objective missed: p99 was 5.63 s; at most 1 s was allowed"]
        );
        assert_eq!(
            conclusion(&record, &verdict),
            "objectives missed, but nothing lost: 9,000,000 of 9,000,000 deliveries"
        );
    }
}
