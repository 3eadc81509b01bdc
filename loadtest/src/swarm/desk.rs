//! Where what subscribers receive is judged, timed and counted.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use stentor::ids::Slot;

use super::{End, Phase, Place, Subscriber};
use crate::{
    decoder::{self, Message},
    oracle::{Oracle, Published, Seat, Verdict},
    payload::Header,
    shared::{Gauges, Shared},
    tally::{self, Connections, HEAT_ROWS, SPREADS_MAX, Second, Spread, Tally, Times},
};

/// Where what subscribers receive is judged, timed and counted.
pub(super) struct Desk {
    shared: Arc<Shared>,
    pub(super) oracle: Oracle,
    pub(super) times: Times,
    spreads: Vec<Spread>,
    seconds: Vec<Second>,
    second: Second,
    /// Deliveries by latency that the gauges do not have yet.
    heat_untold: [u32; HEAT_ROWS],
    pub(super) connections: Connections,
    /// From when on what is read now may have been there: when the thread woke up for it or, if it
    /// did not sleep, when it had last looked.
    pub(super) readable_since: Instant,
    /// Connections that are live now.
    pub(super) live: u64,
    /// What is to be sent to single connections.
    pub(super) unsent: HashMap<Slot, Vec<u8>>,
}

impl Desk {
    pub(super) fn new(shared: Arc<Shared>, subscribers: u32) -> Desk {
        let tracked = (shared.schedule.publications() as usize).min(SPREADS_MAX);
        Desk {
            oracle: Oracle::new(shared.run, shared.schedule.publications()),
            times: Times::default(),
            spreads: vec![Spread::default(); tracked],
            seconds: Vec::new(),
            second: Second::default(),
            heat_untold: [0; HEAT_ROWS],
            connections: Connections { requested: subscribers.into(), ..Connections::default() },
            readable_since: Instant::now(),
            live: 0,
            unsent: HashMap::new(),
            shared,
        }
    }

    /// Microseconds since the epoch, modulo 2^32.
    pub(super) fn micros(&self, now: Instant) -> u32 {
        self.shared.since_epoch(now).as_micros() as u32
    }

    /// Takes in what a subscriber received. Returns why its connection is at an end, if it is.
    pub(super) fn on_bytes(&mut self, slot: Slot, place: &mut Place, bytes: &[u8]) -> Option<End> {
        let now = Instant::now();
        let Place { stream, holder } = place;
        let mut end = None;
        let fed = stream.feed(bytes, &mut |message| match message {
            Message::Established => self.on_established(holder, now),
            Message::Publication(payload) => self.on_publication(holder, payload, now),
            Message::Ping(payload) => self.answer(slot, payload),
            Message::Closed { code, reason } => {
                let code = code.map_or(String::from("no code"), |code| code.to_string());
                end = Some(End::Closed(format!("closed with {code} {reason}").trim_end().into()));
            }
        });
        match fed {
            Ok(()) => end,
            Err(fault) if holder.phase == Phase::Live => Some(End::Broken(fault)),
            Err(fault) => Some(End::Refused(fault)),
        }
    }

    /// Answers a ping, unless many answers wait already for a server that reads none.
    fn answer(&mut self, slot: Slot, ping: &[u8]) {
        let unsent = self.unsent.entry(slot).or_default();
        if unsent.len() < UNSENT_BYTES_MAX {
            decoder::pong(ping, unsent);
        }
    }

    /// Counts a live connection that the server has ended.
    pub(super) fn on_end(&mut self, holder: &Subscriber, end: &End) {
        self.live -= 1;
        self.oracle.on_left(holder.number, &holder.seat, &self.shared.ledger);
        let deliveries = &mut self.oracle.deliveries;
        if holder.is_slow && self.shared.plan.slow.may_be_closed {
            deliveries.slow_closes += 1;
            return;
        }
        deliveries.unexpected_closes += 1;
        deliveries.examples.count(format!("unexpected end of a connection: {end}"), 1);
    }

    /// Closes the seconds that are over.
    pub(super) fn roll(&mut self, now: Instant) {
        let second = self.shared.since_epoch(now).as_secs() as usize;
        while self.seconds.len() < second {
            self.second.connections = self.live;
            self.seconds.push(std::mem::take(&mut self.second));
        }
    }

    /// Tells whoever watches what was counted so far.
    pub(super) fn tell(&mut self, gauges: &Gauges) {
        let deliveries = &self.oracle.deliveries;
        gauges.live.store(self.live, Ordering::Relaxed);
        gauges.established.store(self.connections.established, Ordering::Relaxed);
        gauges.failed.store(self.connections.failed, Ordering::Relaxed);
        gauges.received.store(deliveries.received, Ordering::Relaxed);
        gauges.faults.store(deliveries.faults(), Ordering::Relaxed);
        for (told, count) in gauges.heat.iter().zip(&mut self.heat_untold) {
            told.fetch_add(std::mem::take(count).into(), Ordering::Relaxed);
        }
    }

    pub(super) fn into_tally(mut self) -> Tally {
        self.second.connections = self.live;
        self.seconds.push(self.second);
        Tally {
            connections: self.connections,
            deliveries: self.oracle.deliveries,
            times: self.times,
            spreads: self.spreads,
            seconds: self.seconds,
        }
    }

    fn on_established(&mut self, holder: &mut Subscriber, now: Instant) {
        let since_request = self.since(holder, now);
        self.times.handshake.saturating_record(tally::micros(since_request));
        holder.phase = Phase::Live;
        holder.since_micros = self.micros(now);
        let channel = holder.seat.channel();
        holder.seat = Seat::new(channel, self.shared.ledger.handed_over(channel));
        self.live += 1;
        match holder.was_live {
            true => self.connections.reconnected += 1,
            false => {
                self.connections.established += 1;
                self.connections.ramp = self.shared.since_epoch(now);
            }
        }
    }

    fn on_publication(&mut self, holder: &mut Subscriber, payload: &[u8], now: Instant) {
        if holder.seat.is_fresh() {
            let since_grant = self.since(holder, now);
            self.times.first.saturating_record(tally::micros(since_grant));
        }
        match self.oracle.on_message(holder.number, &mut holder.seat, payload) {
            Verdict::Good(header) | Verdict::Late(header) => {
                self.second.deliveries += 1;
                if !holder.is_slow {
                    self.time(&header, now);
                }
            }
            Verdict::Repeated(_) | Verdict::Misdirected(_) | Verdict::Corrupt => {}
        }
    }

    /// Times one delivery from when it was due.
    fn time(&mut self, header: &Header, now: Instant) {
        let latency = tally::micros(self.shared.since_epoch(now).saturating_sub(header.due));
        self.times.delivery.saturating_record(latency);
        let reading = now.saturating_duration_since(self.readable_since);
        // A part of the latency: the publication may be younger than the thread's last look.
        self.times.reading.saturating_record(tally::micros(reading).min(latency));
        let row = tally::heat_row(latency);
        self.second.heat[row] += 1;
        self.heat_untold[row] += 1;
        if let Some(spread) = self.spreads.get_mut(header.number as usize) {
            spread.received += 1;
            spread.last_micros = spread.last_micros.max(latency as u32);
        }
    }

    fn since(&self, holder: &Subscriber, now: Instant) -> Duration {
        Duration::from_micros(self.micros(now).wrapping_sub(holder.since_micros).into())
    }
}

/// Bytes that wait for one connection from which on no pings are answered.
const UNSENT_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    /// A server that pings and never reads fills no memory.
    #[test]
    fn what_waits_for_a_server_is_bounded() {
        let shared = Shared::new(7, Instant::now(), plan::sample(), Vec::new(), 0);
        let (mut desk, mut place) = (Desk::new(Arc::new(shared), 1), Place::default());
        let granted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert!(desk.on_bytes(Slot(3), &mut place, granted.as_bytes()).is_none());
        for pings in 1..=10_000 {
            assert!(desk.on_bytes(Slot(3), &mut place, b"\x89\x02hi").is_none());
            let waiting = desk.unsent[&Slot(3)].len();
            assert!(waiting == pings * 8 || waiting == UNSENT_BYTES_MAX, "{waiting} after {pings}");
        }
    }
}
