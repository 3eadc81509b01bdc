//! Where what subscribers receive is judged, timed and counted.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use stentor::ids::Slot;

use super::{
    End, Phase, Place, Subscriber,
    bookmarks::{Away, Bookmarks, is_behind},
};
use crate::{
    decoder::{self, Begun, Fault, Message, Transport},
    oracle::{Oracle, Published, Seat, Verdict},
    order::Subscribe,
    payload::Header,
    plan::{CHANNEL, Pace, Role},
    shared::{Gauges, Shared},
    tally::{
        self, Connections, HEAT_ROWS, SPREADS_MAX, STORMS_MAX, Second, Spread, Storm, Tally, Times,
    },
};

/// Where what subscribers receive is judged, timed and counted.
pub(super) struct Desk {
    shared: Arc<Shared>,
    pub(super) oracle: Oracle,
    pub(super) bookmarks: Bookmarks,
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
            bookmarks: Bookmarks::default(),
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

    /// Whether a subscriber has to know where it is.
    pub(super) fn keeps_bookmark(&self, role: &Role) -> bool {
        let may_skip = role.pace != Pace::Good && role.transport.has_positions();
        let may_resume = self.shared.plan.resume && role.transport.has_positions();
        may_resume || role.transport == Transport::Poll || may_skip
    }

    /// What a subscriber sends to open its session, from where it is or from now on.
    pub(super) fn request(&self, subscriber: u32, goes_on: bool) -> Vec<u8> {
        let (transport, subscribe, path) = self.place(subscriber);
        let since = self.bookmarks.position(subscriber).filter(|_| goes_on);
        decoder::request(
            transport,
            &subscribe.host,
            &path,
            &subscribe.headers_of(subscriber),
            since,
        )
    }

    /// What it sends to poll once more.
    fn poll(&self, subscriber: u32) -> Vec<u8> {
        let (_, subscribe, path) = self.place(subscriber);
        let since = self.bookmarks.position(subscriber).unwrap_or_default();
        decoder::poll(&subscribe.host, &path, &subscribe.headers_of(subscriber), since)
    }

    /// How and where a subscriber subscribes.
    fn place(&self, subscriber: u32) -> (Transport, &Subscribe, String) {
        let role = self.shared.layout.role(subscriber);
        let subscribe = self.shared.subscribe(role.transport);
        let channel = self.shared.plan.channel_name(role.channel);
        (role.transport, subscribe, subscribe.path.replace(CHANNEL, &channel))
    }

    /// Takes in what a subscriber received. Returns why its connection is at an end, if it is.
    pub(super) fn on_bytes(&mut self, slot: Slot, place: &mut Place, bytes: &[u8]) -> Option<End> {
        let now = Instant::now();
        let Place { stream, holder } = place;
        let (mut end, mut is_answered, mut fault) = (None, false, None);
        let fed = stream.feed(bytes, &mut |message| {
            let taken = match message {
                Message::Established(begun) => self.on_established(holder, begun, now),
                Message::Publication { payload, id } => {
                    self.on_publication(holder, payload, id, now)
                }
                Message::Position(position) => self.on_position(holder, position),
                Message::Gap { from, to } => self.on_gap(holder, from, to, now),
                Message::Answered { position } => {
                    is_answered = true;
                    position.map_or(Ok(()), |it| self.bookmarks.of(holder.number).advance(it))
                }
                Message::Ping(payload) => {
                    self.answer(slot, payload);
                    Ok(())
                }
                Message::Closed { code, reason } => {
                    let code = code.map_or(String::from("no code"), |code| code.to_string());
                    let text = format!("closed with {code} {reason}");
                    end = Some(End::Closed(text.trim_end().into()));
                    Ok(())
                }
            };
            fault = fault.take().or(taken.err());
        });
        if is_answered {
            stream.ask_again();
            let request = self.poll(holder.number);
            self.unsent.entry(slot).or_default().extend(request);
        }
        match fed.err().or(fault) {
            None => end,
            Some(fault) if holder.phase == Phase::Live => Some(End::Broken(fault)),
            Some(fault) => Some(End::Refused(fault)),
        }
    }

    /// Answers a ping, unless many answers wait already for a server that reads none.
    fn answer(&mut self, slot: Slot, ping: &[u8]) {
        let unsent = self.unsent.entry(slot).or_default();
        if unsent.len() < UNSENT_BYTES_MAX {
            decoder::pong(ping, unsent);
        }
    }

    /// A live subscriber has lost its connection, to a storm or otherwise.
    pub(super) fn on_left(&mut self, holder: &Subscriber, storm: Option<u32>, now: Instant) {
        self.live -= 1;
        self.oracle.on_left(holder.number, &holder.seat, &self.shared.ledger);
        if let Some(storm) = storm {
            self.storm(storm, |storm| storm.cut += 1);
        }
        if self.shared.plan.resume || storm.is_some() {
            let bookmark = self.bookmarks.of(holder.number);
            bookmark.seat = holder.seat;
            bookmark.away = Some(Away { since: now, storm });
        }
    }

    /// Counts a live connection that the server has ended.
    pub(super) fn on_end(&mut self, holder: &Subscriber, end: &End, now: Instant) {
        self.on_left(holder, None, now);
        let deliveries = &mut self.oracle.deliveries;
        if holder.pace != Pace::Good && self.shared.plan.slow.may_be_closed {
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

    fn on_established(
        &mut self,
        holder: &mut Subscriber,
        begun: Begun<'_>,
        now: Instant,
    ) -> Result<(), Fault> {
        let since_request = self.since(holder, now);
        self.times.handshake.saturating_record(tally::micros(since_request));
        holder.phase = Phase::Live;
        holder.since_micros = self.micros(now);
        self.live += 1;
        match holder.was_live {
            true => self.connections.reconnected += 1,
            false => {
                self.connections.established += 1;
                self.connections.ramp = self.shared.since_epoch(now);
            }
        }
        let goes_on = self.shared.plan.resume && holder.was_live;
        let goes_on = goes_on && self.bookmarks.position(holder.number).is_some();
        let channel = holder.seat.channel();
        let handed_over = self.shared.ledger.handed_over(channel);
        holder.seat = Seat::new(channel, handed_over);
        if holder.was_live {
            self.on_back(holder, goes_on.then_some(begun.recovered), handed_over, now);
        }
        if !holder.has_bookmark {
            return Ok(());
        }
        let bookmark = self.bookmarks.of(holder.number);
        if !goes_on {
            bookmark.begin_anew();
        }
        begun.position.map_or(Ok(()), |position| bookmark.on_told(position))
    }

    /// A subscriber is live again. If it asked for what it had missed, it may have been told whether
    /// all of that will come.
    fn on_back(
        &mut self,
        holder: &mut Subscriber,
        resumed: Option<Option<bool>>,
        handed_over: u32,
        now: Instant,
    ) {
        if !holder.has_bookmark && self.shared.plan.churn.storm_share == 0.0 {
            return;
        }
        let bookmark = self.bookmarks.of(holder.number);
        if let Some(Away { since, storm: Some(storm) }) = bookmark.away {
            let micros = tally::micros(now.saturating_duration_since(since));
            self.storm(storm, |storm| {
                storm.came_back += 1;
                storm.last_micros = storm.last_micros.max(micros);
            });
        }
        let bookmark = self.bookmarks.of(holder.number);
        let Some(recovered) = resumed else {
            bookmark.away = None;
            return;
        };
        holder.seat = bookmark.seat.resumed(recovered);
        bookmark.missed_until = handed_over;
        self.connections.resumed += 1;
        self.connections.recovered += u64::from(recovered == Some(true));
        self.look_whether_caught_up(holder, now);
    }

    /// Whoever has all that it missed while it was away is not away any more.
    fn look_whether_caught_up(&mut self, holder: &Subscriber, now: Instant) {
        let bookmark = self.bookmarks.of(holder.number);
        if holder.seat.is_served(bookmark.missed_until)
            && let Some(away) = bookmark.away.take()
        {
            let took = now.saturating_duration_since(away.since);
            self.times.resume.saturating_record(tally::micros(took));
        }
    }

    fn on_position(&mut self, holder: &Subscriber, position: &str) -> Result<(), Fault> {
        match holder.has_bookmark {
            true => self.bookmarks.of(holder.number).on_told(position),
            false => Ok(()),
        }
    }

    fn on_gap(
        &mut self,
        holder: &mut Subscriber,
        from: &str,
        to: &str,
        now: Instant,
    ) -> Result<(), Fault> {
        self.oracle.on_gap(holder.number, &mut holder.seat, &self.shared.ledger);
        if holder.has_bookmark {
            if let Some(why) = self.bookmarks.of(holder.number).on_gap(from, to)? {
                self.oracle.on_false_gap(holder.number, &holder.seat, why);
            }
            self.look_whether_caught_up(holder, now);
        }
        Ok(())
    }

    fn on_publication(
        &mut self,
        holder: &mut Subscriber,
        payload: &[u8],
        id: Option<&str>,
        now: Instant,
    ) -> Result<(), Fault> {
        if holder.seat.is_fresh() {
            let since_grant = self.since(holder, now);
            self.times.first.saturating_record(tally::micros(since_grant));
        }
        let seat = holder.seat;
        let verdict = self.oracle.on_message(holder.number, &mut holder.seat, payload);
        let (Verdict::Good(header) | Verdict::Late(header)) = verdict else { return Ok(()) };
        self.second.deliveries += 1;
        let mut is_recovered = false;
        if holder.has_bookmark {
            self.look_behind_gap(holder, seat.in_gap(header.sequence));
            let bookmark = self.bookmarks.of(holder.number);
            is_recovered = header.sequence < bookmark.missed_until;
            let told = match id {
                Some(id) if matches!(verdict, Verdict::Good(_)) => bookmark.on_publication(id)?,
                _ => None,
            };
            if let Some(why) = told {
                self.oracle.on_false_gap(holder.number, &holder.seat, why);
            }
            self.look_whether_caught_up(holder, now);
        }
        self.oracle.deliveries.recovered += u64::from(is_recovered);
        // What comes from the history is late because its subscriber was away.
        if holder.pace == Pace::Good && !is_recovered {
            self.time(&header, now);
        }
        Ok(())
    }

    /// What is missing at an announced gap must be in it, as far as publishers were told where it is.
    fn look_behind_gap(&mut self, holder: &Subscriber, missing: Range<u32>) {
        let Some(end) = self.bookmarks.of(holder.number).gap_to() else { return };
        let (ledger, channel) = (&self.shared.ledger, holder.seat.channel());
        let is_outside = |position: &str| is_behind(position, end) == Some(true);
        let first = missing.start;
        let outside = ledger.count_at(channel, missing, is_outside);
        if outside > 0 {
            self.oracle.on_missing_behind_gap(holder.number, &holder.seat, first, outside);
        }
    }

    /// Counts something of a storm.
    fn storm(&mut self, storm: u32, count: impl FnOnce(&mut Storm)) {
        let (storms, storm) = (&mut self.connections.storms, storm as usize);
        if storm >= STORMS_MAX {
            return;
        }
        if storms.len() <= storm {
            storms.resize(storm + 1, Storm::default());
        }
        count(&mut storms[storm]);
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
mod tests;
