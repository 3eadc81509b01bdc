//! What all sessions of a server have in common: bounds, time-outs, and who may connect.

use std::{sync::Arc, time::Duration};

use crate::{
    access::Access,
    ids::Tick,
    limits::{COMMAND_BYTES, TICK_MS},
    policy::Policies,
    shield,
    wire::{forwarded::Header, route::Origins, websocket::Limits},
};

/// The settings that sessions live by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Bytes in the largest request head.
    pub head_max: usize,
    /// Bytes of payload in the largest WebSocket frame from a client.
    pub frame_max: usize,
    /// Bytes in the largest WebSocket message from a client. Only echo takes messages.
    pub message_max: usize,
    /// From the connection's start until its subscription must be live.
    pub handshake_timeout: Duration,
    /// A WebSocket peer is pinged when nothing was heard for this long, less up to a tenth; an
    /// event stream gets a comment when nothing was sent for as long.
    pub ping_interval: Duration,
    /// How long a pinged peer may stay silent.
    pub pong_timeout: Duration,
    /// How long a peer may take nothing of what is sent.
    pub stall_timeout: Duration,
    /// Whether `/echo` is served.
    pub echo: bool,
    /// The pages that may connect, besides those of the server's own host.
    pub allowed_origins: Origins,
    /// When those who find the server full should come back, and up to as long again.
    pub retry_after: Duration,
    /// How long an event source waits before it connects again, and up to as long again.
    pub sse_retry: Duration,
    /// How channels live; sessions ask who may publish.
    pub policies: Policies,
    /// Channels that one connection may read. The shard sees to it.
    pub subscriptions_max: u32,
    /// The longest that a long-poll waits.
    pub poll_timeout_max: Duration,
    /// Bytes of payload in the largest publication.
    pub publication_max: usize,
    /// Channels that one shard may be the home of. The shard sees to it.
    pub channels_max: usize,
    /// Encoded bytes of a channel that a subscriber may fall behind. The shard sees to it.
    pub lag_bytes_max: usize,
    /// How much an address, and a connection, may ask for.
    pub shield: shield::Limits,
    /// The header in which trusted proxies say for whom they speak, if they do.
    pub client_header: Option<Header>,
    /// What decides about tokens.
    pub access: Arc<Access>,
    /// How often a second may be published with a token that says nothing of it; 0 is no limit.
    pub token_publish_rate: u32,
    /// When the clock of ticks was at 0, in milliseconds since 1970.
    pub started_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            // What nginx and Node take: cookies and tokens fit, floods do not.
            head_max: 8 * 1024,
            // The largest that Autobahn's limits cases send. Nothing is buffered unless echo is on.
            frame_max: 16 * 1024 * 1024,
            message_max: 16 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            // Common proxies cut what is idle for 60 s.
            ping_interval: Duration::from_secs(55),
            // A phone may need seconds to wake its radio.
            pong_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(30),
            echo: false,
            allowed_origins: Origins::default(),
            retry_after: Duration::from_secs(5),
            // Browsers' own default is about the same.
            sse_retry: Duration::from_secs(3),
            policies: Policies::default(),
            subscriptions_max: 128,
            // Common proxies cut what is idle for 60 s.
            poll_timeout_max: Duration::from_secs(60),
            publication_max: 1024 * 1024,
            channels_max: 1_000_000,
            lag_bytes_max: 16 * 1024 * 1024,
            shield: shield::Limits::default(),
            client_header: None,
            access: Arc::default(),
            token_publish_rate: 0,
            started_ms: 0,
        }
    }
}

impl Rules {
    /// Seconds since 1970.
    pub fn seconds(&self, now: Tick) -> u64 {
        (self.started_ms + u64::from(now.0) * TICK_MS) / 1000
    }

    /// The tick from which on a token with this end is worth nothing.
    pub fn tick_of(&self, seconds: u64) -> Tick {
        let ms = seconds.saturating_mul(1000).saturating_sub(self.started_ms);
        Tick(u32::try_from(ms.div_ceil(TICK_MS)).unwrap_or(u32::MAX))
    }

    /// What a client on this kind of endpoint may send.
    pub(super) fn limits(&self, messages: bool) -> Limits {
        Limits { messages, frame_max: self.frame_max, message_max: self.message_max }
    }

    /// What a client of `stentor.v1` may send: where nobody may publish, commands alone. Text that
    /// is full of quotes or line ends takes twice its bytes as JSON.
    pub(super) fn command_limits(&self) -> Limits {
        let payload = if self.policies.may_publish() { 2 * self.publication_max } else { 0 };
        let limits = self.limits(true);
        Limits { message_max: limits.message_max.min(payload + COMMAND_BYTES), ..limits }
    }
}
