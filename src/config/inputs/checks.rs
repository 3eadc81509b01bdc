//! What the values of an input's keys must be.
#![forbid(unsafe_code)]

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use toml::value::{Datetime, Offset};

use super::super::{channels::Refused, values::Value};
use crate::{
    inputs::{LinesFrom, StartAt},
    limits::WARM_START_RECORDS,
};

fn refused<T>(problem: &str, right: &str) -> Result<T, Refused> {
    Err((problem.to_owned(), right.to_owned()))
}

/// A name of ours.
pub fn name(text: &str) -> Result<Box<str>, Refused> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_of_name) {
        true => Ok(text.into()),
        false => refused("is no name", "write 1 to 64 letters, digits, - and _, like ticks"),
    }
}

/// Any text but none.
pub fn text(text: &str) -> Result<String, Refused> {
    match text.contains('\0') {
        false if !text.is_empty() => Ok(text.to_owned()),
        false => refused("is empty", "write a name, or leave it out"),
        true => refused("has a byte 0", "write text without it"),
    }
}

/// A file or socket.
pub fn path(path: &str) -> Result<PathBuf, Refused> {
    text(path).map(PathBuf::from)
}

/// A URL of the bus, or several if it takes them. What is yet to be replaced is not looked at.
pub fn url(kind: &str, url: &str) -> Result<String, Refused> {
    let (schemes, takes_several, right): (&[&str], _, _) = match kind {
        "nats" | "jetstream" => {
            (&["nats", "tls"], true, "nats://127.0.0.1:4222, or tls:// for TLS")
        }
        "redis" | "redis-stream" => (
            &["redis", "rediss", "redis+unix", "unix"],
            false,
            "redis://127.0.0.1:6379, rediss:// for TLS, or redis+unix:///path",
        ),
        "mqtt" => (&["mqtt", "mqtts"], false, "mqtt://127.0.0.1:1883, or mqtts:// for TLS"),
        _ => (&["amqp", "amqps"], false, "amqp://127.0.0.1:5672/%2f, or amqps:// for TLS"),
    };
    let is_url = |url: &str| {
        let Some((scheme, rest)) = url.split_once("://") else { return false };
        let is_socket = scheme.ends_with("unix");
        schemes.contains(&scheme) && if is_socket { rest.starts_with('/') } else { has_host(rest) }
    };
    let is_right = match takes_several {
        _ if url.contains("${") => true,
        true => url.split(',').all(is_url),
        false => is_url(url),
    };
    if is_right {
        Ok(url.to_owned())
    } else {
        refused("is no URL of it", &format!("write {right}"))
    }
}

/// Whether a host stands here, with a port or without one, and perhaps with who we are before it and
/// a path behind it.
fn has_host(text: &str) -> bool {
    let authority = text.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let is_plain = !text.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    is_plain && is_host(host)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_port = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+');
    (is_bracketed || (!host.is_empty() && host.bytes().all(is_of_host))) && port.is_none_or(is_port)
}

/// Kafka's brokers.
pub fn brokers(text: &str) -> Result<String, Refused> {
    match text.contains("${") || text.split(',').all(|broker| is_host(broker.trim())) {
        true => Ok(text.to_owned()),
        false => {
            refused("is no list of hosts", "write 127.0.0.1:9092, several with , between them")
        }
    }
}

/// A property of librdkafka.
pub fn property(text: &str) -> Result<(String, String), Refused> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => {
            refused("is no property", "write property=NAME=VALUE, like security.protocol=sasl_ssl")
        }
    }
}

/// A NATS subject, wildcards included.
pub fn subject(text: &str) -> Result<String, Refused> {
    let count = text.split('.').count();
    let is_token = |(at, token): (usize, &str)| {
        let is_plain =
            !token.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        let is_wild = token.contains(['*', '>']);
        let is_whole = token == "*" || (token == ">" && at + 1 == count);
        !token.is_empty() && is_plain && (!is_wild || is_whole)
    };
    match text.split('.').enumerate().all(is_token) {
        true => Ok(text.to_owned()),
        false => refused(
            "is no subject",
            "write words with a . between them, * for one of them, and > for all that follow, like ticks.>",
        ),
    }
}

/// A filter of MQTT topics.
pub fn topic_filter(text: &str) -> Result<String, Refused> {
    let count = text.split('/').count();
    let is_level = |(at, level): (usize, &str)| match level {
        "+" => true,
        "#" => at + 1 == count,
        _ => !level.contains(['+', '#', '\0']),
    };
    let is_right = !text.is_empty() && text.len() <= TOPIC_MAX;
    match is_right && text.split('/').enumerate().all(is_level) {
        true => Ok(text.to_owned()),
        false => refused(
            "is no topic filter",
            "write levels with a / between them, + for one of them, and # for all that follow, like sensors/#",
        ),
    }
}

/// A topic of Kafka.
pub fn kafka_topic(text: &str) -> Result<String, Refused> {
    let is_of_topic = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_right = (1..=KAFKA_TOPIC_MAX).contains(&text.len()) && text.bytes().all(is_of_topic);
    match is_right && text != "." && text != ".." {
        true => Ok(text.to_owned()),
        false => refused(
            "is no topic",
            "write 1 to 249 letters, digits and . _ -; there are no wildcards, but the key repeats",
        ),
    }
}

/// The name of a stream or consumer of JetStream.
pub fn jetstream_name(text: &str) -> Result<String, Refused> {
    let is_bad = |letter: char| {
        letter.is_whitespace()
            || letter.is_control()
            || ['.', '*', '>', '/', '\\'].contains(&letter)
    };
    match text.is_empty() || text.contains(is_bad) {
        false => Ok(text.to_owned()),
        true => refused("is no name of JetStream", "write it without spaces and . * > / \\"),
    }
}

/// Where lines come from.
pub fn from(text: &str) -> Result<LinesFrom, Refused> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    match (kind, rest) {
        ("stdin", "") => Ok(LinesFrom::Stdin),
        ("unix", path) if !path.is_empty() => Ok(LinesFrom::Unix(path.into())),
        ("tcp", address) => match address.parse::<SocketAddr>() {
            Ok(address) => Ok(LinesFrom::Tcp(address)),
            Err(_) => refused("is no address with a port", "write tcp:127.0.0.1:9000"),
        },
        _ => refused("is no source of lines", "write stdin, unix:/path or tcp:127.0.0.1:9000"),
    }
}

/// Where to begin in a log.
pub fn start(kind: &str, text: &str) -> Result<StartAt, Refused> {
    match text.split_once(':').unwrap_or((text, "")) {
        ("history", "") => Ok(StartAt::History(WARM_START_RECORDS)),
        ("new", "") => Ok(StartAt::New),
        ("all", "") => Ok(StartAt::All),
        ("last", count) => match count.parse() {
            Ok(0) => refused("asks for no record", "write new, or last:1000"),
            Ok(count) if !count_is_odd(text) => Ok(StartAt::Last(count)),
            _ => refused("has no number of records", "write last:1000"),
        },
        ("behind", id) => behind(kind, id),
        ("time", time) => match moment(time) {
            Some(moment) => Ok(StartAt::Time(moment)),
            None => refused(
                "has no moment",
                "write time:2026-01-31T12:00:00Z, or time:-1h for an hour ago",
            ),
        },
        _ => refused(
            "is no place to begin",
            "write history, new, all, last:1000, behind:ID, time:2026-01-31T12:00:00Z or time:-1h",
        ),
    }
}

/// Numbers may have a + for Rust; for us they have digits.
fn count_is_odd(text: &str) -> bool {
    text.contains('+')
}

/// The ids that the bus has, so that a wrong one is told before it is asked.
fn behind(kind: &str, id: &str) -> Result<StartAt, Refused> {
    let is_number = |text: &str| text.parse::<u64>().is_ok() && !text.starts_with('+');
    let (is_right, right) = match kind {
        "redis-stream" => {
            let (ms, seq) = id.split_once('-').unwrap_or((id, "0"));
            (
                is_number(ms) && is_number(seq),
                "write an id of the stream, like behind:1700000000000-0",
            )
        }
        "jetstream" => (is_number(id), "write a sequence number, like behind:1000"),
        _ => (is_number(id), "write an offset, like behind:1000"),
    };
    if is_right { Ok(StartAt::Behind(id.to_owned())) } else { refused("has no id of it", right) }
}

/// A moment in milliseconds since 1970: one in UTC or with an offset, or how long ago it was.
fn moment(text: &str) -> Option<u64> {
    if let Some(ago) = text.strip_prefix('-') {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ago = Duration::parse(ago).ok()?;
        return u64::try_from(now.checked_sub(ago)?.as_millis()).ok();
    }
    let Datetime { date: Some(date), time: Some(time), offset: Some(offset) } =
        text.parse().ok()?
    else {
        return None;
    };
    let minutes_east = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_1970(date.year.into(), date.month.into(), date.day.into());
    let minutes =
        days * 24 * 60 + i64::from(time.hour) * 60 + i64::from(time.minute) - minutes_east;
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or(0));
    let millis = i64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    u64::try_from(seconds * 1000 + millis).ok()
}

/// Days from 1970 to a day of the Gregorian calendar. Years are counted from March, so that the day
/// which leap years have more is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - DAYS_BEFORE_1970
}

/// From the first of March of the year 0 to the first of January 1970.
const DAYS_BEFORE_1970: i64 = 719_468;
/// Bytes in a name of ours.
const NAME_MAX: usize = 64;
/// Bytes in a topic of Kafka.
const KAFKA_TOPIC_MAX: usize = 249;
/// Bytes in a topic of MQTT: its length has 16 bits.
const TOPIC_MAX: usize = 65_535;
