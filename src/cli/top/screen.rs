//! The picture: what two samples say, in as many columns and rows as there are.

use clap::ValueEnum;
use serde_json::Value;
use stentor::doctor::grouped;

use super::Sample;
use crate::cli::table::{Side, lasted, sized, table};

/// What channels and shards are in the order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Deliveries per second.
    Deliveries,
    /// Publications per second.
    Publications,
    /// Subscribers; of shards, connections.
    Subscribers,
    /// The name; of shards, the number.
    Name,
}

impl Sort {
    /// What a key means.
    pub fn by_key(key: u8) -> Option<Sort> {
        match key {
            b'd' => Some(Sort::Deliveries),
            b'p' => Some(Sort::Publications),
            b's' => Some(Sort::Subscribers),
            b'n' => Some(Sort::Name),
            _ => None,
        }
    }
}

/// How it is to be shown.
pub struct View<'a> {
    pub sort: Sort,
    pub columns: usize,
    pub rows: usize,
    /// What kept the server from answering last.
    pub problem: Option<&'a str>,
}

/// One line of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// A head.
    pub strong: bool,
}

/// Draws the picture; without an earlier sample the rates are unknown.
pub fn draw(before: Option<&Sample>, now: &Sample, view: &View<'_>) -> Vec<Line> {
    let rates = Rates::between(before, now);
    let mut lines = head(before, now, &rates);
    let shards = shards(before, now, &rates, view.sort);
    let channels = channels(now, view.sort);
    let inputs = inputs(before, now, &rates);
    let has_inputs = usize::from(!inputs.rows.is_empty());
    // Each part has a head and a line above it; the last line says which keys there are.
    let room = view.rows.saturating_sub(lines.len() + 2 * (2 + has_inputs) + 1);
    let of_inputs = inputs.rows.len().min((room / 4).max(has_inputs));
    let of_shards = shards.rows.len().min((room - of_inputs.min(room)) / 2);
    let of_channels = channels.rows.len().min(room.saturating_sub(of_inputs + of_shards));
    let of_shards = shards.rows.len().min(room.saturating_sub(of_inputs + of_channels));
    shards.add_to(&mut lines, of_shards);
    channels.add_to(&mut lines, of_channels);
    if has_inputs > 0 {
        inputs.add_to(&mut lines, of_inputs);
    }
    lines.truncate(view.rows.saturating_sub(1));
    let last = match view.problem {
        Some(problem) => format!("! {problem}"),
        None => format!("q quits; sorted by {}: d p s n", of(view.sort)),
    };
    lines.push(Line { text: last, strong: view.problem.is_some() });
    let fit = |line: Line| Line {
        text: line.text.chars().filter(|it| !it.is_control()).take(view.columns).collect(),
        ..line
    };
    lines.into_iter().map(fit).collect()
}

fn of(sort: Sort) -> &'static str {
    match sort {
        Sort::Deliveries => "deliveries",
        Sort::Publications => "publications",
        Sort::Subscribers => "subscribers",
        Sort::Name => "name",
    }
}

/// How much time lies between two samples, by the server's clock.
struct Rates(Option<f64>);

impl Rates {
    fn between(before: Option<&Sample>, now: &Sample) -> Rates {
        let at = |sample: &Sample| sample.stats["uptime_seconds"].as_f64();
        let seconds = before.and_then(at).zip(at(now)).map(|(before, now)| now - before);
        Rates(seconds.filter(|seconds| *seconds > 0.0))
    }

    /// What a counter grew by in a second. Of a server that has begun anew nothing is known.
    fn rate(&self, before: Option<&Value>, now: &Value) -> Option<f64> {
        let grown = now.as_u64()?.checked_sub(before?.as_u64()?)?;
        Some(grown as f64 / self.0?)
    }
}

fn head(before: Option<&Sample>, now: &Sample, rates: &Rates) -> Vec<Line> {
    let stats = &now.stats;
    let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let text = |name: &str| stats[name].as_str().unwrap_or("?");
    let uptime = lasted(stats["uptime_seconds"].as_f64().unwrap_or(0.0) as u64);
    let draining = if stats["draining"] == true { ", draining" } else { "" };
    let shards = number("/shards");
    let plural = if shards == 1 { "" } else { "s" };
    let memory = sized(number("/resident_bytes"));
    let (all, blocked) = (number("/connections/total"), number("/blocked"));
    let of = ["websocket", "sse", "json", "other"]
        .map(|name| format!("{} {name}", grouped(number(&format!("/connections/{name}")))));
    let title = format!(
        "Stentor {}, up {uptime}{draining}: {shards} shard{plural}, {} channels, {memory} of memory",
        text("version"),
        grouped(number("/channels")),
    );
    let connections =
        format!("{} connections ({}), {} blocked", grouped(all), of.join(", "), grouped(blocked));
    let rate = |name: &str| rates.rate(before.map(|before| &before.stats[name]), &stats[name]);
    let (deliveries, published) =
        (per_second(rate("deliveries")), per_second(rate("publications")));
    let bytes = rate("delivered_bytes").map_or("-".into(), |bytes| sized(bytes as u64));
    let work = format!("{deliveries} deliveries/s of {published} publications/s, {bytes}/s");
    let plain = |text| Line { text, strong: false };
    vec![Line { text: title, strong: true }, plain(connections), plain(work)]
}

/// A table with as many rows as there are.
struct Part {
    head: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Part {
    /// Adds an empty line, the head and the first rows. Where rows are left, the last says how many.
    fn add_to(&self, lines: &mut Vec<Line>, rows: usize) {
        let text = table(&self.head, &self.rows[..rows]);
        let mut text = text.lines().map(str::to_owned);
        lines.push(Line { text: String::new(), strong: false });
        lines.push(Line { text: text.next().unwrap_or_default(), strong: true });
        let left = self.rows.len() - rows;
        let mut text: Vec<String> = text.collect();
        if let Some(last) = text.last_mut().filter(|_| left > 0) {
            *last = format!("and {} more", grouped(left as u64 + 1));
        }
        lines.extend(text.into_iter().map(|text| Line { text, strong: false }));
    }
}

fn shards(before: Option<&Sample>, now: &Sample, rates: &Rates, sort: Sort) -> Part {
    let list = |sample: &Value| sample["shards"].as_array().cloned().unwrap_or_default();
    let earlier = before.map(|before| list(&before.shards)).unwrap_or_default();
    let bounds = numbers(&now.shards["up_to_us"]);
    let mut known: Vec<(Value, Option<Value>)> = list(&now.shards)
        .into_iter()
        .enumerate()
        .map(|(at, shard)| (shard, earlier.get(at).cloned()))
        .collect();
    let rate = |(now, before): &(Value, Option<Value>), name: &str| {
        rates.rate(before.as_ref().map(|before| &before[name]), &now[name])
    };
    let key = |shard: &(Value, Option<Value>)| match sort {
        Sort::Deliveries => rate(shard, "deliveries").unwrap_or(0.0),
        Sort::Publications => rate(shard, "publications").unwrap_or(0.0),
        Sort::Subscribers => shard.0["connections"].as_f64().unwrap_or(0.0),
        Sort::Name => 0.0,
    };
    // Stable: shards that are alike stay in the order of their numbers.
    known.sort_by(|one, other| key(other).total_cmp(&key(one)));
    let row = |shard: &(Value, Option<Value>)| {
        let (now, before) = shard;
        let number = |name: &str| grouped(now[name].as_u64().unwrap_or(0));
        let (deliveries, sends) = (rate(shard, "deliveries"), rate(shard, "sends"));
        let each = deliveries.zip(sends).filter(|(_, sends)| *sends > 0.0);
        let each =
            each.map_or("-".into(), |(deliveries, sends)| format!("{:.1}", deliveries / sends));
        let busy = rate(shard, "busy_us").map_or("-".into(), |us| format!("{:.0} %", us / 1e4));
        let sweeps = before.as_ref().map(|before| grown(&before["sweeps"], &now["sweeps"]));
        let quantile = |q| sweeps.as_ref().map_or("-".into(), |it| quantile(it, &bounds, q));
        let (connections, blocked) = (number("connections"), number("blocked"));
        let (deliveries, published) =
            (per_second(deliveries), per_second(rate(shard, "publications")));
        let (half, most) = (quantile(0.5), quantile(0.99));
        vec![number("shard"), connections, blocked, published, deliveries, each, busy, half, most]
    };
    let names =
        ["SHARD", "CONNECTIONS", "BLOCKED", "PUBL/S", "DELIV/S", "/SEND", "BUSY", "SWEEP", "P99"];
    let rows = known.iter().map(row).collect();
    Part { head: names.map(|name| (name, Side::Right)).to_vec(), rows }
}

fn channels(now: &Sample, sort: Sort) -> Part {
    let mut list = now.busiest["channels"].as_array().cloned().unwrap_or_default();
    let key = |channel: &Value| match sort {
        Sort::Deliveries => channel["deliveries_per_second"].as_f64().unwrap_or(0.0),
        Sort::Publications => channel["publications_per_second"].as_f64().unwrap_or(0.0),
        Sort::Subscribers => channel["subscribers"].as_f64().unwrap_or(0.0),
        Sort::Name => 0.0,
    };
    let name = |channel: &Value| channel["channel"].as_str().unwrap_or("").to_owned();
    list.sort_by(|one, other| {
        key(other).total_cmp(&key(one)).then_with(|| name(one).cmp(&name(other)))
    });
    let row = |channel: &Value| {
        let subscribers = grouped(channel["subscribers"].as_u64().unwrap_or(0));
        let rate = |name: &str| per_second(channel[name].as_f64());
        let (published, delivered) =
            (rate("publications_per_second"), rate("deliveries_per_second"));
        vec![subscribers, published, delivered, name(channel)]
    };
    let right = |name| (name, Side::Right);
    let head =
        vec![right("SUBSCRIBERS"), right("PUBL/S"), right("DELIV/S"), ("CHANNEL", Side::Left)];
    Part { head, rows: list.iter().map(row).collect() }
}

fn inputs(before: Option<&Sample>, now: &Sample, rates: &Rates) -> Part {
    let list = |sample: &Value| sample["inputs"].as_array().cloned().unwrap_or_default();
    let earlier = before.map(|before| list(&before.inputs)).unwrap_or_default();
    let row = |(at, input): (usize, &Value)| {
        let text = |name: &str| input[name].as_str().unwrap_or("").to_owned();
        let state = match (input["connected"] == true, input["ready"] == true) {
            (true, true) => "reads",
            (true, false) => "catches up",
            (false, _) => "away",
        };
        let rate = rates.rate(earlier.get(at).map(|it| &it["records"]), &input["records"]);
        let lag = input["lag"].as_u64().map_or("-".into(), grouped);
        vec![per_second(rate), lag, state.into(), text("name"), text("problem")]
    };
    let (right, left) = (|name| (name, Side::Right), |name| (name, Side::Left));
    let head = vec![right("REC/S"), right("LAG"), left("STATE"), left("INPUT"), left("PROBLEM")];
    Part { head, rows: list(&now.inputs).iter().enumerate().map(row).collect() }
}

fn per_second(rate: Option<f64>) -> String {
    match rate {
        None => "-".into(),
        Some(rate) if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => grouped(rate.round() as u64),
    }
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().into_iter().flatten().map(|it| it.as_u64().unwrap_or(0)).collect()
}

fn grown(before: &Value, now: &Value) -> Vec<u64> {
    let (before, now) = (numbers(before), numbers(now));
    now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
}

/// The bound under which this share of the durations is.
fn quantile(counts: &[u64], bounds: &[u64], share: f64) -> String {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return "-".into();
    }
    let rank = (all as f64 * share).ceil() as u64;
    let mut below = 0;
    let at = counts.iter().position(|count| {
        below += count;
        below >= rank
    });
    let spelled = |us: u64| match us {
        0..1000 => format!("{us} us"),
        1000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{} s", us / 1_000_000),
    };
    match at.and_then(|at| bounds.get(at)) {
        Some(&bound) => format!("<{}", spelled(bound)),
        None => format!(">{}", spelled(bounds.last().copied().unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests;
