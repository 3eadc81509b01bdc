//! Connections on their way: begun at the ramp's rate, tried again when they fail.
//!
//! At most [`AT_ONCE`] of a thread are under way, so that a ramp neither runs out of open files nor
//! overruns a listener's backlog.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use stentor::{
    ids::Slot,
    io::dial::{Dialled, dial, progress},
};

use super::{Desk, End, Share};
use crate::{
    decoder::Fault,
    plan::Pace,
    shared::{Shared, Stage},
    tally,
};

/// A subscriber that is to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    /// Its number.
    pub(super) subscriber: u32,
    /// Attempts that failed before.
    failures: u32,
    /// Whether it was live before.
    pub(super) was_live: bool,
}

impl Attempt {
    fn first(subscriber: u32) -> Attempt {
        Attempt { subscriber, failures: 0, was_live: false }
    }

    /// The attempt of a subscriber that was live to come back.
    pub(super) fn back(subscriber: u32) -> Attempt {
        Attempt { subscriber, failures: 0, was_live: true }
    }
}

/// The connections of one thread that are on their way.
pub(super) struct Opening {
    share: Share,
    subscribers: u32,
    /// Subscribers of the ramp that were begun.
    begun: u32,
    /// Whether more are begun: a run that is ended early does not go on to connect.
    is_ramping: bool,
    /// Between two subscribers of this thread.
    interval: Duration,
    ramp_began: Instant,
    /// Those that are to come back, soonest first.
    again: BinaryHeap<Reverse<(Instant, Attempt)>>,
    dialled: Vec<(Dialled, (Attempt, Instant))>,
    /// Requests that are not answered yet, and when they were sent.
    requested: HashMap<Slot, (Attempt, Instant)>,
}

impl Opening {
    pub(super) fn new(shared: &Shared, share: Share) -> Opening {
        Opening {
            share,
            subscribers: share.of(shared.plan.connections()),
            begun: 0,
            is_ramping: true,
            interval: Duration::from_secs(1) * share.threads / shared.plan.ramp,
            ramp_began: shared.epoch,
            again: BinaryHeap::new(),
            dialled: Vec::new(),
            requested: HashMap::new(),
        }
    }

    /// Begins whatever is due.
    pub(super) fn begin(&mut self, shared: &Shared, now: Instant, desk: &mut Desk) {
        self.is_ramping = shared.stage.now() == Stage::Ramp;
        while self.dialled.len() + self.requested.len() < AT_ONCE {
            let Some(attempt) = self.next(now) else { return };
            let role = shared.layout.role(attempt.subscriber);
            let address = shared.subscribe(role.transport).address;
            let source = source(attempt.subscriber, address.ip());
            let receive_bytes = (role.pace != Pace::Good).then_some(SLOW_RECEIVE_BYTES);
            let began = Instant::now();
            match dial(address, source, receive_bytes) {
                Ok(dialled) => self.dialled.push((dialled, (attempt, began))),
                Err(error) => self.on_failed(attempt, None, &connect_failed(&error), desk, now),
            }
        }
    }

    /// The connections that stand now.
    pub(super) fn finish(&mut self, desk: &mut Desk) -> io::Result<Vec<(Attempt, OwnedFd)>> {
        let mut standing = Vec::new();
        let mut failed = Vec::new();
        progress(&mut self.dialled, &mut |(attempt, began), outcome| match outcome {
            Ok(socket) => {
                let took = began.elapsed();
                desk.times.connect.saturating_record(tally::micros(took));
                standing.push((attempt, socket));
            }
            Err(error) => failed.push((attempt, connect_failed(&error))),
        })?;
        let now = Instant::now();
        let expired = self
            .dialled
            .extract_if(.., |(_, (_, began))| now.saturating_duration_since(*began) > PATIENCE);
        let silent = format!("no connection within {} s", PATIENCE.as_secs());
        failed.extend(expired.map(|(_, (attempt, _))| (attempt, silent.clone())));
        for (attempt, why) in failed {
            self.on_failed(attempt, None, &why, desk, now);
        }
        Ok(standing)
    }

    /// A request was sent.
    pub(super) fn on_requested(&mut self, slot: Slot, attempt: Attempt, now: Instant) {
        self.requested.insert(slot, (attempt, now));
    }

    /// The request was granted.
    pub(super) fn on_granted(&mut self, slot: Slot) {
        self.requested.remove(&slot);
    }

    /// The request was refused, or the connection ended before the answer. Returns what is to be
    /// tried again.
    pub(super) fn on_denied(&mut self, slot: Slot, end: &End, desk: &mut Desk, now: Instant) {
        let Some((attempt, _)) = self.requested.remove(&slot) else { return };
        let wait = match end {
            End::Refused(Fault::Refused { retry_after, .. }) => *retry_after,
            _ => None,
        };
        let wait = wait.map(|seconds| Duration::from_secs(seconds.into()));
        self.on_failed(attempt, wait, &end.to_string(), desk, now);
    }

    /// A subscriber is to be connected, now.
    pub(super) fn again(&mut self, attempt: Attempt, now: Instant) {
        self.again.push(Reverse((now, attempt)));
    }

    /// Requests that have waited too long for their answer.
    pub(super) fn late(&self, now: Instant) -> Vec<Slot> {
        let is_late = |sent: Instant| now.saturating_duration_since(sent) > PATIENCE;
        let late = self.requested.iter().filter(|(_, (_, sent))| is_late(*sent));
        late.map(|(&slot, _)| slot).collect()
    }

    /// Subscribers that were live and are on their way back.
    pub(super) fn coming_back(&self) -> u64 {
        let waiting = self.again.iter().map(|Reverse((_, attempt))| attempt);
        let dialled = self.dialled.iter().map(|(_, (attempt, _))| attempt);
        let requested = self.requested.values().map(|(attempt, _)| attempt);
        let all = waiting.chain(dialled).chain(requested);
        all.filter(|attempt| attempt.was_live).count() as u64
    }

    /// How long it is until something is to be done here.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        if !self.dialled.is_empty() {
            return LOOK_AT_DIALLED_EVERY;
        }
        if self.requested.len() >= AT_ONCE {
            return Duration::MAX;
        }
        let ramp = self.has_more().then(|| self.due(self.begun));
        let again = self.again.peek().map(|Reverse((at, _))| *at);
        let next = ramp.into_iter().chain(again).min();
        next.map_or(Duration::MAX, |at| at.saturating_duration_since(now))
    }

    /// Takes the next subscriber that is due.
    fn next(&mut self, now: Instant) -> Option<Attempt> {
        if self.again.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            return self.again.pop().map(|Reverse((_, attempt))| attempt);
        }
        if !self.has_more() || self.due(self.begun) > now {
            return None;
        }
        self.begun += 1;
        Some(Attempt::first(self.share.remainder + (self.begun - 1) * self.share.threads))
    }

    fn has_more(&self) -> bool {
        self.is_ramping && self.begun < self.subscribers
    }

    /// When the n-th subscriber of this thread is due.
    fn due(&self, nth: u32) -> Instant {
        self.ramp_began + self.interval.mul_f64(nth.into())
    }

    /// A connection stands, and the table has no place for it: those that are closing hold theirs
    /// until the kernel lets go of them.
    pub(super) fn on_no_place(
        &mut self,
        attempt: Attempt,
        error: &io::Error,
        desk: &mut Desk,
        now: Instant,
    ) {
        self.on_failed(attempt, None, &format!("no place in the table: {error}"), desk, now);
    }

    /// Counts a failure, and has the subscriber try again unless it has tried enough.
    fn on_failed(
        &mut self,
        attempt: Attempt,
        wait: Option<Duration>,
        why: &str,
        desk: &mut Desk,
        now: Instant,
    ) {
        desk.connections.failures.count(why, 1);
        if attempt.failures + 1 >= ATTEMPTS && !attempt.was_live {
            desk.connections.failed += 1;
            return;
        }
        let doubled = FIRST_WAIT * 2u32.pow(attempt.failures.min(WAIT_DOUBLINGS));
        // A tenth of a percent of the wait for each subscriber, so that they do not come together.
        let jitter = doubled.mul_f64(f64::from(attempt.subscriber % 1000) / 1000.0);
        let wait = wait.unwrap_or_default().min(WAIT_MAX).max(doubled) + jitter;
        let attempt = Attempt { failures: attempt.failures + 1, ..attempt };
        self.again.push(Reverse((now + wait, attempt)));
    }
}

fn connect_failed(error: &io::Error) -> String {
    format!("connect: {error}")
}

/// The address that a subscriber connects from: on loopback one of many, since each has only so
/// many ports; elsewhere the kernel's choice.
fn source(subscriber: u32, target: IpAddr) -> Option<IpAddr> {
    match target {
        IpAddr::V4(target) if target.is_loopback() => {
            let first = u32::from(FIRST_SOURCE);
            Some(Ipv4Addr::from(first + subscriber / PER_SOURCE).into())
        }
        _ => None,
    }
}

/// Connections of a thread that are under way at once: half of a usual backlog with two threads.
pub(super) const AT_ONCE: usize = 1024;

/// How long a connection, and an answer to a request, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Attempts to connect a subscriber for the first time.
const ATTEMPTS: u32 = 5;

/// The wait after the first failure; doubled after each further one, so often at most.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const WAIT_DOUBLINGS: u32 = 4;

/// The longest wait that a server can ask for.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How often connections under way are looked at: their descriptors are not in the ring yet.
const LOOK_AT_DIALLED_EVERY: Duration = Duration::from_millis(1);

/// Loopback addresses that subscribers connect from, and how many use each: there are 28,232 ports
/// by default, and `connect` looks at those of one parity first.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const PER_SOURCE: u32 = 10_000;

/// The receive buffer of a slow reader: the smallest that the kernel grants is a little larger.
const SLOW_RECEIVE_BYTES: usize = 2048;
