//! `stentor channels`, `connections`, `inputs` and `limits`: what a running server tells of itself.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Command, ValueEnum};
use serde_json::Value;
use stentor::doctor::grouped;

use super::{
    api::{Api, Server, Shape},
    endpoint::{channel, encoded},
    failure::Failure,
    table::{Side, lasted, list, sized, table},
};

/// Arguments of `channels`.
#[derive(Args, Debug)]
pub struct Channels {
    /// One channel, to be shown whole.
    name: Option<String>,
    /// Only channels whose names begin so.
    #[arg(long, conflicts_with = "name", default_value = "")]
    prefix: String,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `connections`.
#[derive(Args, Debug)]
pub struct Connections {
    /// One connection, to be shown whole, by the id that the list gives: like 0-17-3.
    id: Option<String>,
    /// Closes the connection. By default it is told not to come back.
    #[arg(long, requires = "id", value_name = "REASON", num_args = 0..=1,
          default_missing_value = "policy", require_equals = true)]
    close: Option<Reason>,
    /// Only connections from this IP address.
    #[arg(long, conflicts_with = "id")]
    address: Option<String>,
    /// Only connections that read this channel.
    #[arg(long, conflicts_with = "id")]
    channel: Option<String>,
    /// Only connections that are spoken to so: handshake, websocket, stentor.v1, sse, poll, closing.
    #[arg(long, conflicts_with = "id")]
    transport: Option<String>,
    /// Only connections of this shard.
    #[arg(long, conflicts_with = "id")]
    shard: Option<String>,
    /// Counts all connections by where they come from.
    #[arg(long, conflicts_with_all = ["id", "address", "channel", "transport", "shard"])]
    by_address: bool,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    server: Server,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reason {
    /// 1008: it is not wanted.
    Policy,
    /// 1012: it is to connect again, here or elsewhere.
    Reconnect,
}

/// Arguments of `inputs` and `limits`.
#[derive(Args, Debug)]
pub struct Plain {
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    server: Server,
}

/// The commands, as they are typed.
pub fn commands() -> [Command; 4] {
    // The texts come last: the arguments' own types bring theirs.
    [
        Channels::augment_args(Command::new("channels"))
            .about("Lists the channels of a running server, or shows one")
            .after_help(CHANNELS_EXAMPLES),
        Connections::augment_args(Command::new("connections"))
            .about("Lists the connections of a running server, shows one, or closes it")
            .after_help(CONNECTIONS_EXAMPLES),
        Plain::augment_args(Command::new("inputs"))
            .about("Shows what a running server reads from message buses, and how that goes"),
        Plain::augment_args(Command::new("limits"))
            .about("Shows the limits of a running server, and how much of each is used"),
    ]
}

/// `stentor channels`.
pub fn channels(args: &Channels) -> Result<(), Failure> {
    let api = Api::find(&args.server)?;
    if let Some(name) = &args.name {
        let url = api.endpoint().channel("/v1/channels/", &channel(name)?);
        return args.shape.print(&api.get_url(&url)?, one_channel);
    }
    let path = format!("/v1/channels?prefix={}", encoded(&args.prefix));
    let answer = pages(&api, &path, "channels", args.limit)?;
    args.shape.print(&answer, |answer| {
        let row = |it: &Value| {
            let number = |name: &str| grouped(it[name].as_u64().unwrap_or(0));
            let (kept, bytes) = (number("kept"), sized(it["kept_bytes"].as_u64().unwrap_or(0)));
            let position = text(&it["position"]);
            vec![
                text(&it["channel"]),
                number("subscribers"),
                position,
                kept,
                bytes,
                text(&it["pattern"]),
            ]
        };
        let head = [
            ("CHANNEL", Side::Left),
            ("SUBSCRIBERS", Side::Right),
            ("POSITION", Side::Left),
            ("KEPT", Side::Right),
            ("BYTES", Side::Right),
            ("PATTERN", Side::Left),
        ];
        table(&head, &rows(&answer["channels"], row))
    })
}

fn one_channel(it: &Value) -> String {
    let number = |pointer: &str| grouped(it.pointer(pointer).and_then(Value::as_u64).unwrap_or(0));
    let size = |pointer: &str| sized(it.pointer(pointer).and_then(Value::as_u64).unwrap_or(0));
    let age = match it["retention"]["age_seconds"].as_f64() {
        Some(seconds) => format!(", for {}", lasted(seconds as u64)),
        None => String::new(),
    };
    let (websocket, sse) = (number("/readers/websocket"), number("/readers/sse"));
    let readers = format!("{websocket} WebSocket, {sse} SSE, {} JSON", number("/readers/json"));
    list(&[
        ("channel", text(&it["channel"])),
        (
            "pattern",
            format!(
                "{} ({}, slow: {})",
                text(&it["pattern"]),
                text(&it["mode"]),
                text(&it["slow"])
            ),
        ),
        ("subscribers", number("/subscribers")),
        ("readers", readers),
        ("position", text(&it["position"])),
        ("kept", format!("{}, {}", number("/kept"), size("/kept_bytes"))),
        (
            "kept at most",
            format!("{}, {}{age}", number("/retention/publications"), size("/retention/bytes")),
        ),
        ("behind", number("/behind")),
        ("lag at most", lag(&it["lag"])),
        ("presence", if it["presence"] == true { "told".into() } else { "not told".into() }),
    ])
}

/// `stentor connections`.
pub fn connections(args: &Connections) -> Result<(), Failure> {
    let api = Api::find(&args.server)?;
    if let Some(id) = &args.id {
        let path = format!("/v1/connections/{}", encoded(id));
        let answer = match args.close {
            None => api.get(&path)?,
            Some(Reason::Policy) => api.delete(&format!("{path}?reason=policy"))?,
            Some(Reason::Reconnect) => api.delete(&format!("{path}?reason=reconnect"))?,
        };
        return args.shape.print(&answer, one_connection);
    }
    if args.by_address {
        let answer = api.get(&format!("/v1/addresses?limit={}", args.limit.min(PAGE_MAX)))?;
        return args.shape.print(&answer, by_address);
    }
    let mut path = "/v1/connections?".to_owned();
    for (name, value) in [
        ("address", &args.address),
        ("channel", &args.channel),
        ("transport", &args.transport),
        ("shard", &args.shard),
    ] {
        if let Some(value) = value {
            path += &format!("{name}={}&", encoded(value));
        }
    }
    let answer = pages(&api, path.trim_end_matches(['?', '&']), "connections", args.limit)?;
    args.shape.print(&answer, |answer| {
        let row = |it: &Value| {
            let channels = it["channels"].as_array();
            let first = channels.and_then(|them| them.first()).map(|it| text(&it["channel"]));
            let channels = match it["subscriptions"].as_u64().unwrap_or(0) {
                0 => String::new(),
                1 => first.unwrap_or_default(),
                more => format!("{} and {} more", first.unwrap_or_default(), grouped(more - 1)),
            };
            let pending = sized(it["pending_bytes"].as_u64().unwrap_or(0));
            let lag = grouped(it["lag"]["publications"].as_u64().unwrap_or(0));
            let address = text(&it["address"]);
            vec![
                text(&it["id"]),
                address,
                text(&it["transport"]),
                since(it),
                lag,
                pending,
                channels,
            ]
        };
        let head = [
            ("ID", Side::Left),
            ("ADDRESS", Side::Left),
            ("TRANSPORT", Side::Left),
            ("SINCE", Side::Right),
            ("LAG", Side::Right),
            ("PENDING", Side::Right),
            ("CHANNELS", Side::Left),
        ];
        table(&head, &rows(&answer["connections"], row)) + &counts(answer)
    })
}

fn by_address(answer: &Value) -> String {
    let row =
        |it: &Value| vec![grouped(it["connections"].as_u64().unwrap_or(0)), text(&it["address"])];
    let head = [("CONNECTIONS", Side::Right), ("ADDRESS", Side::Left)];
    let note = match answer["complete"] == true {
        true => String::new(),
        false => {
            let counted = grouped(answer["counted"].as_u64().unwrap_or(0));
            format!("of the {counted} that there was time and room to look at\n")
        }
    };
    table(&head, &rows(&answer["addresses"], row)) + &note
}

/// How many there are, under the list.
fn counts(answer: &Value) -> String {
    let transports = answer["transports"].as_object().into_iter().flatten();
    let transports = transports.filter(|(_, count)| **count != 0);
    let transports: Vec<String> =
        transports.map(|(name, count)| format!("{count} {name}")).collect();
    let shards = answer["shards"].as_array().into_iter().flatten();
    let shards: Vec<String> = shards.map(Value::to_string).collect();
    let total = grouped(answer["total"].as_u64().unwrap_or(0));
    let transports = match transports.is_empty() {
        true => String::new(),
        false => format!(" ({})", transports.join(", ")),
    };
    format!("in all: {total}{transports}; by shard: {}\n", shards.join(", "))
}

fn one_connection(it: &Value) -> String {
    let bytes = |name: &str| sized(it[name].as_u64().unwrap_or(0));
    let mut pairs = vec![
        ("id", text(&it["id"])),
        ("address", text(&it["address"])),
        ("subject", text(&it["subject"])),
        ("transport", text(&it["transport"])),
        ("since", since(it)),
        ("socket", if it["blocked"] == true { "full".into() } else { "has room".into() }),
        ("pending", bytes("pending_bytes")),
        ("received in part", bytes("received_bytes")),
        ("lag", lag(&it["lag"])),
        ("channels", grouped(it["subscriptions"].as_u64().unwrap_or(0))),
    ];
    for channel in it["channels"].as_array().into_iter().flatten() {
        let (name, position) = (text(&channel["channel"]), text(&channel["position"]));
        pairs.push(("", format!("{name} at {position}, lag {}", lag(&channel["lag"]))));
    }
    if let Some(told) = it["closed"].as_str() {
        pairs.push(("closed", told.to_owned()));
    }
    list(&pairs)
}

/// `stentor inputs`.
pub fn inputs(args: &Plain) -> Result<(), Failure> {
    let answer = Api::find(&args.server)?.get("/v1/inputs")?;
    args.shape.print(&answer, |answer| {
        let row = |it: &Value| {
            let state = match (&it["connected"], &it["ready"]) {
                (Value::Bool(true), Value::Bool(true)) => "reads",
                (Value::Bool(true), _) => "catches up",
                _ => "away",
            };
            let number = |name: &str| it[name].as_u64().map_or("-".into(), grouped);
            let (records, lag) = (number("records"), number("lag"));
            let place = text(&it["place"]);
            let (name, kind) = (text(&it["name"]), text(&it["kind"]));
            let problem = text(&it["problem"]);
            vec![name, kind, state.into(), records, number("reconnects"), lag, place, problem]
        };
        let head = [
            ("NAME", Side::Left),
            ("KIND", Side::Left),
            ("STATE", Side::Left),
            ("RECORDS", Side::Right),
            ("RECONNECTS", Side::Right),
            ("LAG", Side::Right),
            ("PLACE", Side::Left),
            ("PROBLEM", Side::Left),
        ];
        table(&head, &rows(&answer["inputs"], row))
    })
}

/// `stentor limits`.
pub fn limits(args: &Plain) -> Result<(), Failure> {
    let answer = Api::find(&args.server)?.get("/v1/limits")?;
    args.shape.print(&answer, |answer| {
        let row = |it: &Value| {
            let used = it["used"].as_u64();
            let max = it["max"].as_u64().filter(|max| *max > 0);
            let share = used.zip(max).map(|(used, max)| format!("{} %", used * 100 / max));
            let used = used.map(grouped).unwrap_or_default();
            vec![text(&it["name"]), text(&it["value"]), used, share.unwrap_or_default()]
        };
        let head = [
            ("LIMIT", Side::Left),
            ("VALUE", Side::Right),
            ("USED", Side::Right),
            ("SHARE", Side::Right),
        ];
        table(&head, &rows(&answer["limits"], row))
    })
}

/// Reads page after page until there are `limit`, or all.
fn pages(api: &Api, path: &str, list: &str, limit: u64) -> Result<Value, Failure> {
    let mut all: Option<Value> = None;
    let mut after = String::new();
    loop {
        let found = all.as_ref().and_then(|all| all[list].as_array()).map_or(0, Vec::len) as u64;
        let page = (limit - found).min(PAGE_MAX);
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut answer = api.get(&format!("{path}{joint}limit={page}{after}"))?;
        let next = answer["next"].as_str().map(str::to_owned);
        let mut more = answer[list].as_array_mut().map(std::mem::take).unwrap_or_default();
        let found = found + more.len() as u64;
        match &mut all {
            None => {
                answer[list] = more.into();
                all = Some(answer);
            }
            Some(all) => {
                all["next"] = answer["next"].take();
                all[list].as_array_mut().into_iter().for_each(|them| them.append(&mut more));
            }
        }
        match (next, all.take()) {
            (Some(next), Some(answer)) if found < limit => {
                after = format!("&after={}", encoded(&next));
                all = Some(answer);
            }
            (Some(_), Some(answer)) => {
                eprintln!("stentor: these are the first {found}; --limit shows more");
                return Ok(answer);
            }
            (_, answer) => return Ok(answer.unwrap_or_default()),
        }
    }
}

fn rows(list: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(row).collect()
}

/// A text as it is, nothing as a dash, and everything else as JSON.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| if value.is_null() { "-".into() } else { value.to_string() }, Into::into)
}

fn lag(lag: &Value) -> String {
    let number = |name: &str| lag[name].as_u64().unwrap_or(0);
    let (publications, bytes) = (grouped(number("publications")), sized(number("bytes")));
    format!("{publications} publications, {bytes}, {} ms", grouped(number("ms")))
}

/// How long it has been there.
fn since(connection: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let since = connection["since_ms"].as_u64().unwrap_or(now);
    lasted(now.saturating_sub(since) / 1000)
}

/// Entries of one page: what the server gives at most.
const PAGE_MAX: u64 = 1000;

const CHANNELS_EXAMPLES: &str = "\
Examples:
  stentor channels
  stentor channels --prefix room. --limit 1000
  stentor channels news
  stentor channels --json | jq -r '.channels[].channel'";

const CONNECTIONS_EXAMPLES: &str = "\
Examples:
  stentor connections
  stentor connections --channel news --transport sse
  stentor connections --address 192.0.2.7
  stentor connections 0-17-3
  stentor connections 0-17-3 --close=reconnect";
