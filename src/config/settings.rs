//! Every setting, defined once: name, type, default, range and help.
//!
//! To add one, add a row. Its flag, variable, TOML key, help and reference follow, and the tests
//! that iterate over the table hold it to the same rules. `=> live` at its end says that a reload puts
//! it into effect, which `server/operate.rs` must then do. Bounds between two settings are in
//! `check.rs`.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::{
    access::{ApiKey, Claim, KeyFile, MASKED},
    addresses::{Addresses, Place, SocketPath},
    channels::Channels,
    error::ConfigError,
    inputs::{Inputs, masked_text},
    proxies::ClientHeader,
    sources::Given,
    spans::{Collector, CollectorHeaders},
    table::{Setting, Shape, capitals, dashed, is_live, settings, text},
    values::{
        Auto, Directory, IoChoice, LogFilter, LogFormat, Names, Paths, PublishTo, Size, TOO_LITTLE,
        TOO_MUCH, UserName, Value,
    },
};
use crate::{shield::Networks, wire::route::Origins};

settings! {
    "Listening" {
        /// Where subscribers connect, over WebSocket, SSE or long-polling. `[::]` is every IPv6
        /// address and no IPv4 one; give both where both are wanted.
        listen: Addresses = "127.0.0.1:8080";
        /// Where subscribers connect by TLS (`https://`, `wss://`), beside `listen`; `--listen ''` leaves
        /// TLS alone. Needs `tls-cert` and `tls-key`.
        listen_tls: Addresses = "";
        /// The server's certificate in PEM, and behind it those that lead to the authority. Several are
        /// chosen from by the name that a client asks for; the first is for all other clients. Read
        /// again when the file changes.
        tls_cert: Paths = "";
        /// The private key of each `tls-cert`, in the same order.
        tls_key: Paths = "";
        /// Where publishers, probes and the dashboard connect; `unix:` and a path is a Unix socket, for
        /// its owner and group (mode 0660). Keep it off the internet.
        control: Place = "127.0.0.1:8081";
        /// The certificate of the control listener in PEM, with those that lead to the authority; with
        /// one it speaks TLS only. Read again when the file changes.
        control_tls_cert: Paths = "";
        /// The private key of each `control-tls-cert`, in the same order.
        control_tls_key: Paths = "";
        /// Authorities in PEM of which every client of the control listener must have a certificate.
        control_client_ca: KeyFile = "";
        /// Where a server hands its listening sockets over: the path of a Unix socket. Whoever starts
        /// with the same one takes them from the server that runs, which drains and ends then, and nobody
        /// is refused meanwhile. Where none runs it starts as ever.
        takeover: SocketPath = "";
        /// Connections that the kernel may complete before the server accepts them, per shard.
        /// The kernel caps it at net.core.somaxconn without saying so.
        backlog: u32 = "4096", "1" to "65535";
        /// Web pages that may subscribe, by exact origin, `null` for pages without one, or `*` for
        /// any page; besides those from the host name they connect to, which may on any port.
        allow_origin: Origins = "" => live;
        /// Names besides localhost and IP addresses by which the pages of this host call the subscriber
        /// listener; a page of another name has to be in allow-origin, since anyone can point a name here.
        /// Where every channel wants a token, any name will do.
        host: Names = "" => live;
        /// Names besides localhost and IP addresses by which the control listener may be called;
        /// a request for another Host is refused, since any web page can send one.
        control_host: Names = "" => live;
    }
    "Access" {
        /// The key that tokens (JWT) are signed with: a file with a public key in PEM for RS256, ES256
        /// or EdDSA, or with a secret of 32 bytes or more for HS256. Read again when it changes.
        token_key: KeyFile = "";
        /// The keys that tokens are signed with, as a JWKS file; a token's `kid` names one. Read again
        /// when it changes, so that keys can be rotated.
        token_jwks: KeyFile = "";
        /// What the `iss` of every token must be.
        token_issuer: Claim = "" => live;
        /// What the `aud` of every token must be, or have.
        token_audience: Claim = "" => live;
        /// Publications per second with one token, over all who have one of its subject, and ten times
        /// as many at once; one more is answered 429, or the error too_fast. A token's publish_rate
        /// claim goes before this. 0 is no limit, and keys of the API have none.
        token_publish_rate: u32 = "1000", "0" to "1000000" => live;
        /// A key that may do everything at the control listener, sent as `Authorization: Bearer`; or
        /// `sha256:` and its hash in hexadecimal. Flags can be seen by others of the machine: better
        /// use the environment, or a file.
        api_key: ApiKey = "" => live;
        /// Keys of the control listener, a line each: `name:scopes:secret`, where scopes are publish,
        /// read and admin with commas between, and the secret may be `sha256:` and its hash. Read again
        /// when it changes.
        api_key_file: KeyFile = "";
        /// Lets everybody who reaches the control listener publish and stop the server, although
        /// it listens beyond this machine and has no key. Only for networks that are closed by other means.
        control_open: bool = "false" => live;
    }
    "Channels" {
        /// What is kept of which channels, and what befalls their slow subscribers, as patterns
        /// like 'ticker.* history=1000 slow=skip; user.* mode=latest'; `stentor config --reference`
        /// lists the keys. The first pattern that matches decides; without one nothing is kept.
        channels: Channels = "" => live;
        /// What is read from message buses, as entries like 'nats url=nats://127.0.0.1:4222
        /// subject=ticks.> channel={subject}'; `stentor config --reference` lists the keys.
        inputs: Inputs = "";
        /// The input, by its name, to whose bus publications go that come to the control listener, so
        /// that every edge gets them. Without it they go to the subscribers here alone.
        publish_to: PublishTo = "";
        /// Where what is kept of channels is written, so that it outlives the server. Without it
        /// nothing is written.
        journal: Directory = "";
    }
    "Engine" {
        /// The way into the kernel. With auto io_uring where it is to be had, otherwise epoll, and
        /// the log says which.
        io: IoChoice = "auto";
        /// Threads that serve subscribers, each with connections of its own. With auto as many as
        /// there are cores.
        shards: Auto<u16> = "auto", "1" to "256";
        /// Messages between shards that may wait in front of one of them. What finds no room is
        /// merged and sent later, never lost.
        inbox: u32 = "4096", "16" to "1048576";
        /// Unsent bytes that the kernel takes from the server for one subscriber
        /// (TCP_NOTSENT_LOWAT). Raise it to 128KiB where publications are above 16KiB.
        notsent_lowat: Size = "16KiB", "1KiB" to "16MiB";
    }
    "Rights" {
        /// The user that the server becomes, by name or number, once it listens; only root can. Then
        /// journals, certificates and keys that are read again must be readable for that user.
        user: UserName = "";
    }
    "Limits" {
        /// Subscribers at one time, over all shards; one more is answered 503. With auto 100,000,
        /// or what the kernel can hold if that is less.
        max_connections: Auto<u32> = "auto", "1" to "16777216";
        /// Channels at one time that have subscribers or of which something is kept; subscribing
        /// to one more, or publishing to it if it would be kept, is answered 503.
        channels_max: u32 = "1000000", "1" to "100000000" => live;
        /// Channels that one connection may subscribe to; one more is refused.
        subscriptions_max: u32 = "128", "1" to "65536" => live;
        /// Bytes in the head of a subscriber's HTTP request; a longer one is answered 431.
        head_max: Size = "8KiB", "512" to "64KiB" => live;
        /// Payload bytes in one WebSocket frame from a subscriber; a larger one closes with 1009.
        frame_max: Size = "64KiB", "125" to "16MiB" => live;
        /// Payload bytes in one WebSocket message from a subscriber, over all its frames; a larger
        /// one closes with 1009.
        message_max: Size = "64KiB", "125" to "64MiB" => live;
        /// Bytes in one publication; a larger one is answered 413.
        publication_max: Size = "1MiB", "1" to "64MiB" => live;
        /// Publications that may wait in front of one shard; one more is answered 503.
        publish_queue: u32 = "1024", "1" to "1048576";
        /// Encoded bytes that a subscriber may fall behind in a channel before the channel's `slow`
        /// decides. They are kept once per channel, not per subscriber.
        lag_max: Size = "16MiB", "1KiB" to "64GiB" => live;
    }
    "Under attack" {
        /// Networks that none of these limits holds for.
        exempt: Networks = "127.0.0.0/8,::1" => live;
        /// Proxies: networks whose word is taken for whom they speak, by PROXY or in client-header. No
        /// limit by address holds for themselves.
        trusted: Networks = "";
        /// Whether connections from those begin with a PROXY header, version 1 or 2, beneath TLS where
        /// there is TLS. Then those without are closed.
        proxy_protocol: bool = "false";
        /// The header in which those say for whom they send a request: none, x-forwarded-for or forwarded
        /// (RFC 7239). Choose what the proxies write themselves; of others it is never read.
        client_header: ClientHeader = "none";
        /// Connections of one address at one time; one more is answered 429. An address is an IPv4
        /// address or an IPv6 /64. 0 is no limit, here and below.
        address_connections: u32 = "10000", "0" to "16777216" => live;
        /// New connections of one address per second, and ten times as many at once; one more is
        /// answered 429, or closed without a word where there are many.
        address_connection_rate: u32 = "500", "0" to "1000000" => live;
        /// Requests of one address per second, and ten times as many at once; one more is answered
        /// 429.
        address_request_rate: u32 = "1000", "0" to "1000000" => live;
        /// Channels that nobody reads yet and that one address asks for, per second, and ten times as
        /// many at once; one more closes its connection with 4429.
        address_channel_rate: u32 = "1000", "0" to "1000000" => live;
        /// Bytes that are kept for one address: what came in part of its requests and messages, and
        /// answers and ciphertext that it does not take. More closes the connection that brought them.
        address_memory: Size = "64MiB", "0" to "64GiB" => live;
        /// New connections per second and shard; the next ones wait in the backlog, so that a storm
        /// leaves time for who is connected.
        accept_rate: u32 = "2000", "0" to "1000000" => live;
        /// Frames and commands of one connection per second, and ten times as many at once; one more
        /// closes it with 4429.
        message_rate: u32 = "100", "0" to "1000000" => live;
        /// Publications of one connection per second, and ten times as many at once; one more is
        /// answered with the error too_fast.
        publish_rate: u32 = "50", "0" to "1000000" => live;
        /// How long a message may take from its first byte to its last; a slower one closes with
        /// 4408. 0s is no limit.
        message_timeout: Duration = "1m", "0s" to "1h" => live;
    }
    "Time-outs" {
        /// How long a new connection may take to send its whole request head.
        handshake_timeout: Duration = "10s", "100ms" to "5m" => live;
        /// How long a WebSocket may be silent before it is pinged. Proxies like to cut at 60s.
        ping_interval: Duration = "55s", "1s" to "1h" => live;
        /// How long the answer to a ping may take before the subscriber counts as gone.
        pong_timeout: Duration = "20s", "1s" to "1h" => live;
        /// How long a subscriber with publications waiting may take none of their bytes before its
        /// connection is dropped.
        stall_timeout: Duration = "30s", "1s" to "1h" => live;
        /// How long a long-poll may wait for a publication; who asks for more waits so long.
        poll_timeout_max: Duration = "1m", "1s" to "1h" => live;
        /// How long a probe may take to reach every shard when `/readyz` is asked; a shard that it has not
        /// reached by then is named, and the server is not ready.
        ready_deadline: Duration = "2s", "100ms" to "1m" => live;
    }
    "Stopping" {
        /// Over how long subscribers are closed when the server stops, so that they do not all
        /// come back at once. 0s closes all of them at once.
        drain: Duration = "5s", "0s" to "1h" => live;
        /// What Retry-After says to whoever is answered 503 or 429, and up to as long again, so that
        /// they do not come back together. Whole seconds.
        retry_after: Duration = "5s", "1s" to "1h" => live;
    }
    "Diagnostics" {
        /// Mounts /echo, which sends every message back. For conformance runs only.
        echo: bool = "false" => live;
        /// An OpenTelemetry collector that speaks OTLP over HTTP, to which spans of publications go; without
        /// one there are none.
        otlp_endpoint: Collector = "";
        /// Headers of each request to the collector, such as a key.
        otlp_header: CollectorHeaders = "";
        /// One in so many publications over HTTP has a span, besides those whose `traceparent` asks for one;
        /// 0 is none besides those.
        trace_sample: u32 = "0", "0" to "1000000000";
        /// What to log, as a tracing filter.
        log: LogFilter = "info" => live;
        /// How the log is written: text for people, or json with an object per line.
        log_format: LogFormat = "text";
    }
}

/// Reads the next row's setting; what is wrong with it goes to `wrong`.
fn read_next<'a, T: Value>(
    rows: &mut impl Iterator<Item = (&'a Setting, &'a Given)>,
    wrong: &mut Vec<ConfigError>,
) -> Option<T> {
    let (setting, given) = rows.next().expect("one value is given for every setting");
    read(setting, given).map_err(|error| wrong.push(error)).ok()
}

/// Reads one setting and holds it to its range.
fn read<T: Value>(setting: &Setting, given: &Given) -> Result<T, ConfigError> {
    let refused = |problem: String, right: String| ConfigError::Wrong {
        name: setting.name,
        value: shown(setting, &given.text),
        place: given.source.clone(),
        problem,
        right,
    };
    let value = T::parse(&given.text).map_err(|problem| {
        let is_of_range = [TOO_LITTLE, TOO_MUCH].contains(&problem.as_str());
        let right = if is_of_range { setting.right_range() } else { setting.right() };
        refused(problem, T::right(&given.text).unwrap_or(right))
    })?;
    match outside::<T>(setting, &value) {
        Some(problem) => Err(refused(problem.to_owned(), setting.right_range())),
        None => Ok(value),
    }
}

/// The text, or its beginning where it may be long and what is wrong with it is told by its entry.
pub(super) fn shown(setting: &Setting, text: &str) -> String {
    let masked = match setting.name {
        "inputs" => masked_text(text),
        "api-key" | "otlp-header" if !text.is_empty() => MASKED.to_owned(),
        _ => text.to_owned(),
    };
    let text = masked.as_str();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) if setting.shape == Shape::Entries => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

/// Characters of a text of many entries that are shown.
const SHOWN_MAX: usize = 60;

/// How the value misses the setting's range, if it does.
fn outside<T: Value>(setting: &Setting, value: &T) -> Option<&'static str> {
    let (low, high) = setting.range?;
    let bound = |text| T::parse(text).expect("the table's own bounds are values");
    value.outside(&bound(low), &bound(high))
}
