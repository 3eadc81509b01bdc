//! Spans of publications, for whoever follows a request through many services (OpenTelemetry).
//!
//! A publication is followed if its publisher says so by a W3C `traceparent`, or if it is the next of
//! so many. What is known of it goes into a bounded queue, and from there to a collector by a thread
//! of its own.
//!
//! Promises: nobody waits for the collector; what finds no room, or is not taken, is counted and gone.
#![forbid(unsafe_code)]

mod export;
#[cfg(test)]
mod tests;

pub use export::Exporter;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender},
    },
    time::{Duration, SystemTime},
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use crate::{
    ids::{ChannelName, Position, ShardId},
    limits::{SPANS_FLUSH_MS, SPANS_MAX},
};

/// Where spans go, and of which publications there are some.
#[derive(Clone, Debug)]
pub struct Spans {
    /// The collector, without the path of a signal: `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// Headers of each request to it.
    pub headers: Vec<(String, String)>,
    /// One in so many publications without a `traceparent` is followed; 0: none.
    pub one_in: u32,
}

/// Whom a publisher calls its request's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`. One that is wrong is none, as the recommendation of the W3C says.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let mut hex = |len: usize| {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let part = parts.next()?;
            let is_right = part.len() == len && part.bytes().all(is_digit);
            is_right.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // Later versions may have more behind the flags.
        let is_known = version < 0xff && (version > 0 || parts.next().is_none());
        let parent = Parent { trace, span: span as u64, is_sampled: flags & 1 == 1 };
        (is_known && trace != 0 && span != 0).then_some(parent)
    }
}

/// A publication that is followed, on its way.
#[derive(Clone, Debug)]
pub struct Begun {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    arrived: SystemTime,
    handed_over: SystemTime,
}

impl Begun {
    /// It is given to its home shard now.
    pub fn hand_over(&mut self) {
        self.handed_over = SystemTime::now();
    }
}

/// A publication that was followed to its home's answer.
#[derive(Clone, Debug)]
pub struct Span {
    begun: Begun,
    answered: SystemTime,
    told: Told,
}

/// What is told of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Where it was published.
    pub channel: ChannelName,
    /// Its home.
    pub shard: ShardId,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Its position and how many subscribers the home knew of, or why it was refused.
    pub outcome: Result<(Position, u64), String>,
}

/// What is counted of spans.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    exported: Counter,
    dropped: Counter,
    failed: Counter,
}

impl Tally {
    /// Has it scraped.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Spans that the collector has taken.";
        registry.register("spans_exported", help, self.exported.clone());
        let help = "Spans that found no room in the queue to the collector.";
        registry.register("spans_dropped", help, self.dropped.clone());
        let help = "Spans that the collector did not take in time, or refused.";
        registry.register("spans_failed", help, self.failed.clone());
    }
}

/// Decides what is followed, and takes what came of it.
#[derive(Debug)]
pub struct Tracer {
    one_in: u64,
    counted: AtomicU64,
    ids: RandomState,
    drawn: AtomicU64,
    tally: Tally,
    queue: Option<SyncSender<Span>>,
    over: Mutex<Receiver<()>>,
}

impl Tracer {
    /// One, and what is to be run on a thread of its own.
    pub fn new(spans: Spans) -> (Tracer, Exporter) {
        let (queue, queued) = mpsc::sync_channel(SPANS_MAX);
        let (end, over) = mpsc::sync_channel(1);
        let tally = Tally::default();
        let tracer = Tracer {
            one_in: u64::from(spans.one_in),
            counted: AtomicU64::new(0),
            ids: RandomState::new(),
            drawn: AtomicU64::new(0),
            tally: tally.clone(),
            queue: Some(queue),
            over: Mutex::new(over),
        };
        (tracer, Exporter::new(spans, queued, tally, end))
    }

    /// What is counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether a publication is followed that arrives now, and by what.
    pub fn begin(&self, parent: Option<Parent>) -> Option<Box<Begun>> {
        let is_next = || {
            let counted = self.counted.fetch_add(1, Relaxed);
            counted.checked_rem(self.one_in) == Some(0)
        };
        let (trace, parent) = match parent {
            Some(parent) if parent.is_sampled => (parent.trace, Some(parent.span)),
            None if is_next() => (u128::from(self.draw()) << 64 | u128::from(self.draw()), None),
            _ => return None,
        };
        let now = SystemTime::now();
        let span = self.draw();
        Some(Box::new(Begun { trace, span, parent, arrived: now, handed_over: now }))
    }

    /// Its home has answered.
    pub fn end(&self, begun: Begun, told: Told) {
        let span = Span { begun, answered: SystemTime::now(), told };
        let queue = self.queue.as_ref().expect("it is there until the end");
        if queue.try_send(span).is_err() {
            self.tally.dropped.inc();
        }
    }

    /// A number that nobody can foretell, and not 0.
    fn draw(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Relaxed);
        self.ids.hash_one(drawn).max(1)
    }
}

impl Drop for Tracer {
    /// What is queued has a moment left to be sent.
    fn drop(&mut self) {
        self.queue = None;
        let over = self.over.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = over.recv_timeout(Duration::from_millis(SPANS_FLUSH_MS));
    }
}
