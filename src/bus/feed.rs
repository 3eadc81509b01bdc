//! The way of an input's records to their home shards.

use std::{
    collections::VecDeque,
    mem::{Discriminant, discriminant},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    ids::{Epoch, Offset, Position},
    inputs::{InputState, Skip},
    logs::limited,
    mapping::{Fields, Mapped, Mapping, Unmapped},
    mesh::{Answer, Asker, Ingress, Publish, Rejected, SequenceNews, Terms, Ticket},
    policy::Pattern,
};

/// What a [`Feed`] is made of.
pub struct FeedSetup {
    /// The input's name.
    pub name: Box<str>,
    /// Its number: see [`Asker::Input`].
    pub number: u16,
    /// What becomes of its records.
    pub mapping: Mapping,
    /// Bytes that a publication may have.
    pub publication_bytes_max: usize,
    /// The input's ingress at each shard.
    pub ingresses: Arc<[Ingress]>,
    /// Is told when a shard has answered.
    pub answered: Arc<Notify>,
    /// How the input is.
    pub state: Arc<InputState>,
}

/// Hands records over, in order. What an input does with its bus's records, it does here.
///
/// A record is *settled* once its shard has answered: published, or refused for good. Inputs that
/// acknowledge to their bus do so then.
pub struct Feed {
    setup: FeedSetup,
    /// The ticket of the last record that was handed over; they count from 1.
    last: u64,
    /// What became of each ticket behind `settled`.
    tickets: VecDeque<Place>,
    settled: u64,
    /// For each shard whether it has something that it was not woken for.
    unwoken: Vec<bool>,
    connected_before: bool,
    was_connected: bool,
    unmapped: Ways,
}

/// What became of a record that was handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It waits for its shard. Its bus gives it again if we do not acknowledge it, or go on before it.
    Waits,
    /// It waits for its shard, and its bus gives it to nobody again.
    WaitsOnce,
    Answered,
}

/// The ways in which records mapped to nothing, of which each is to be logged once. One reason may be
/// several mistakes: a template that wants too much, and a payload without its part.
#[derive(Default)]
struct Ways(Vec<Discriminant<Unmapped>>);

impl Ways {
    /// Whether nothing was unmapped in this way before, and somebody should look at it.
    fn is_first(&mut self, why: &Unmapped) -> bool {
        let way = discriminant(why);
        let is_first = *why != Unmapped::Filtered && !self.0.contains(&way);
        if is_first {
            self.0.push(way);
        }
        is_first
    }
}

/// Records that may have been handed over since the oldest that is not settled: one that is held back
/// must not let the account of those behind it grow for ever.
const UNSETTLED_MAX: usize = 1 << 20;

/// Records that may be handed over before shards are woken although nobody waits.
const WAKE_EVERY: u64 = 64;

impl Feed {
    /// A feed that was not connected yet.
    pub fn new(setup: FeedSetup) -> Self {
        Feed {
            unwoken: vec![false; setup.ingresses.len()],
            setup,
            last: 0,
            tickets: VecDeque::new(),
            settled: 0,
            connected_before: false,
            was_connected: false,
            unmapped: Ways::default(),
        }
    }

    /// The input's state, for what only the input knows: its lag.
    pub fn state(&self) -> &InputState {
        &self.setup.state
    }

    /// Bytes that a publication may have.
    pub fn publication_bytes_max(&self) -> usize {
        self.setup.publication_bytes_max
    }

    /// The connection stands, and what is to be read is there.
    pub fn on_connected(&mut self) {
        if self.connected_before {
            self.setup.state.on_reconnect();
        }
        limited!(info, "input", "input {}: connected", self.setup.name);
        (self.connected_before, self.was_connected) = (true, true);
        self.setup.state.set_connected(true, None);
    }

    /// Everything was read that was to be read before the server is ready: publications that the bus
    /// had when the input connected. It is ready once they are published.
    pub async fn on_caught_up(&mut self) {
        if self.setup.state.report().ready {
            return;
        }
        let last = self.last;
        self.settle(last).await;
        self.tell_all(&SequenceNews::CaughtUp { input: self.setup.number }).await;
        tracing::info!("input {}: ready, after {last} records", self.setup.name);
        self.setup.state.set_ready();
    }

    /// The connection is over.
    pub(super) fn on_fault(&mut self, why: String) {
        self.flush();
        self.setup.state.set_connected(false, Some(why));
        self.setup.state.set_lag(None);
    }

    /// There will be no more.
    pub(super) async fn on_over(&mut self) {
        self.on_caught_up().await;
        self.setup.state.set_connected(false, None);
    }

    /// Nothing more is read. Waits until it is known of all that comes from nobody again what became of
    /// it, so that what was refused is counted.
    pub(super) async fn on_stop(&mut self) {
        while self.tickets.contains(&Place::WaitsOnce) {
            self.wait_for_answers().await;
        }
    }

    pub(super) fn take_was_connected(&mut self) -> bool {
        std::mem::take(&mut self.was_connected)
    }

    /// A sequence with a log begins, behind `floor`: to be told before its first record, and again
    /// only when the bus has made it anew, which `replaces` then says. `known` gives the fields that
    /// are the same for all its records, so that it is known which channels it can feed.
    pub async fn begin(
        &mut self,
        epoch: Epoch,
        replaces: Option<Epoch>,
        floor: Offset,
        known: impl Fn(&str) -> Option<String>,
    ) {
        let feeds: Box<[Pattern]> = [self.setup.mapping.channel.pattern(known)].into();
        self.tell_all(&SequenceNews::Begins { epoch, replaces, feeds, floor }).await;
    }

    /// The bus has trimmed what was behind `from`, up to and with `to`, before it was read.
    pub async fn hole(&mut self, epoch: Epoch, from: Offset, to: Offset) {
        limited!(
            warn,
            "input",
            "input {}: the bus has lost what was behind {} up to {} before it was read; \
             subscribers are told",
            self.setup.name,
            Position { epoch, offset: from },
            Position { epoch, offset: to }
        );
        self.setup.state.on_hole();
        self.tell_all(&SequenceNews::Hole { epoch, from, to }).await;
    }

    async fn tell_all(&mut self, news: &SequenceNews) {
        for shard in 0..self.setup.ingresses.len() {
            while self.setup.ingresses[shard].tell(news.clone()).is_err() {
                self.wait_for_answers().await;
            }
            self.unwoken[shard] = true;
        }
        self.flush();
    }

    /// Maps a record and hands it over, and waits for a place as long as there is none: call it for
    /// buses that can wait. `None` if the record goes nowhere, otherwise its ticket. Shards are woken
    /// by [`Feed::flush`], at the latest when a place is waited for.
    pub async fn put(
        &mut self,
        record: &impl Fields,
        payload: Bytes,
        position: Option<Position>,
    ) -> Option<u64> {
        let mapped = self.map(record, payload)?;
        Some(self.put_mapped(mapped, position).await)
    }

    /// The same for buses that can wait, but give nothing again.
    pub async fn put_once(&mut self, record: &impl Fields, payload: Bytes) -> Option<u64> {
        let mapped = self.map(record, payload)?;
        Some(self.put_as(Place::WaitsOnce, mapped, None).await)
    }

    /// [`Feed::put`] for what is mapped already.
    pub async fn put_mapped(&mut self, mapped: Mapped, position: Option<Position>) -> u64 {
        self.put_as(Place::Waits, mapped, position).await
    }

    async fn put_as(&mut self, place: Place, mapped: Mapped, position: Option<Position>) -> u64 {
        while self.tickets.len() >= UNSETTLED_MAX {
            self.wait_for_answers().await;
        }
        let (shard, mut publish) = self.publication(mapped, position);
        while let Err(again) = self.setup.ingresses[shard].publish(publish) {
            publish = again;
            self.wait_for_answers().await;
        }
        self.on_handed_over(shard, place)
    }

    /// Hands over what is mapped already if there is a place, and gives it back if there is none: for
    /// inputs of several streams, of which one must not wait for another, and that give nothing again.
    /// See [`Feed::room`].
    pub fn try_put_mapped(&mut self, mapped: Mapped) -> Result<u64, Mapped> {
        let (shard, publish) = self.publication(mapped, None);
        match self.setup.ingresses[shard].publish(publish) {
            Ok(()) => Ok(self.on_handed_over(shard, Place::WaitsOnce)),
            Err(Publish { channel, kind, payload, terms, .. }) => {
                let key = terms.and_then(|terms| terms.key);
                Err(Mapped { channel, key, kind, payload })
            }
        }
    }

    /// Waits until places may have become free. Safe to be dropped half way.
    pub async fn room(&mut self) {
        self.wait_for_answers().await;
    }

    /// Maps a record and hands it over if there is a place; drops and counts it if there is none: for
    /// buses that cannot wait.
    pub fn offer(&mut self, record: &impl Fields, payload: Bytes) -> Option<u64> {
        let mapped = self.map(record, payload)?;
        self.offer_mapped(mapped)
    }

    /// The same for what is mapped already.
    pub fn offer_mapped(&mut self, mapped: Mapped) -> Option<u64> {
        let (shard, publish) = self.publication(mapped, None);
        let mut refused = self.setup.ingresses[shard].publish(publish);
        if let Err(publish) = refused {
            self.take_answers();
            refused = self.setup.ingresses[shard].publish(publish);
        }
        match refused {
            Ok(()) => Some(self.on_handed_over(shard, Place::WaitsOnce)),
            Err(_) => {
                self.flush();
                self.skip(Skip::Dropped, "the shards are behind, and the bus cannot wait");
                None
            }
        }
    }

    /// Counts a record, and maps it.
    pub fn map(&mut self, record: &impl Fields, payload: Bytes) -> Option<Mapped> {
        self.on_record(payload.len());
        match self.setup.mapping.map(record, payload) {
            Ok(mapped) if mapped.payload.len() > self.setup.publication_bytes_max => {
                let most = self.setup.publication_bytes_max;
                let len = mapped.payload.len();
                self.skip(
                    Skip::TooLarge,
                    &format!("{len} bytes are more than the {most} of publication-max"),
                );
                None
            }
            Ok(mapped) => Some(mapped),
            Err(why) => {
                self.on_unmapped(&why);
                None
            }
        }
    }

    fn on_unmapped(&mut self, why: &Unmapped) {
        let skip = match why {
            Unmapped::Filtered => Skip::Filtered,
            Unmapped::BadName(..) => Skip::BadName,
            Unmapped::Missing(_) | Unmapped::BadKey | Unmapped::NoPart(_) => Skip::Unmapped,
        };
        self.setup.state.on_skip(skip);
        if self.unmapped.is_first(why) {
            self.log_skip(skip, &why.to_string());
        }
    }

    /// Counts a record that is not [mapped](Feed::map).
    pub fn on_record(&mut self, bytes: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.setup.state.on_record(bytes, now.as_millis() as u64);
    }

    /// Counts a record that was passed over, and logs the first of its kind.
    pub fn skip(&mut self, skip: Skip, why: &str) {
        let before = self.setup.state.on_skip(skip);
        if before == 0 && !matches!(skip, Skip::Filtered | Skip::Repeated) {
            self.log_skip(skip, why);
        }
    }

    fn log_skip(&self, skip: Skip, why: &str) {
        tracing::warn!(
            "input {}: a record was passed over ({}): {why}; more of this kind are only counted",
            self.setup.name,
            skip.label()
        );
    }

    fn publication(&mut self, mapped: Mapped, position: Option<Position>) -> (usize, Publish) {
        let Mapped { channel, key, kind, payload } = mapped;
        let terms = key.map(|key| Box::new(Terms { key: Some(key), ..Terms::default() }));
        let (asker, ticket) = (Asker::Input(self.setup.number), Ticket(self.last + 1));
        let shards = self.setup.ingresses.len() as u16;
        let shard = usize::from(channel.bucket().home(shards).0);
        (shard, Publish { asker, ticket, channel, kind, payload, terms, position })
    }

    fn on_handed_over(&mut self, shard: usize, place: Place) -> u64 {
        self.last += 1;
        self.tickets.push_back(place);
        self.unwoken[shard] = true;
        if self.last.is_multiple_of(WAKE_EVERY) {
            self.flush();
            self.take_answers();
        }
        self.last
    }

    /// Wakes the shards that have something: to be called when the bus has nothing more at the
    /// moment.
    pub fn flush(&mut self) {
        for (ingress, unwoken) in self.setup.ingresses.iter().zip(&mut self.unwoken) {
            if std::mem::take(unwoken) {
                ingress.wake();
            }
        }
    }

    /// The ticket up to which every record is settled.
    pub fn settled(&mut self) -> u64 {
        self.take_answers();
        self.settled
    }

    /// The ticket of the last record that was handed over.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Waits until more is settled than `known`. Safe to be dropped half way.
    pub async fn settled_beyond(&mut self, known: u64) -> u64 {
        while self.settled() <= known {
            self.wait_for_answers().await;
        }
        self.settled
    }

    /// Waits until everything up to this ticket is settled.
    pub async fn settle(&mut self, ticket: u64) {
        while self.settled() < ticket {
            self.wait_for_answers().await;
        }
    }

    /// Waits until shards have answered something.
    async fn wait_for_answers(&mut self) {
        self.flush();
        let answered = Arc::clone(&self.setup.answered);
        // One permit is kept, so that what was answered before we wait is not missed.
        answered.notified().await;
        self.take_answers();
    }

    fn take_answers(&mut self) {
        for shard in 0..self.setup.ingresses.len() {
            while let Some(Answer { ticket, outcome }) = self.setup.ingresses[shard].take_answer() {
                let place = &mut self.tickets[(ticket.0 - self.settled - 1) as usize];
                if outcome == Err(Rejected::HandedOver) && *place == Place::Waits {
                    // Never settled: what its bus was not told of it gives to our successor.
                    continue;
                }
                *place = Place::Answered;
                match outcome {
                    Ok(accepted) if accepted.repeated => {
                        self.skip(Skip::Repeated, "it was published before");
                    }
                    Ok(_) => (),
                    Err(rejected) => self.on_rejected(rejected),
                }
            }
        }
        while self.tickets.front() == Some(&Place::Answered) {
            self.tickets.pop_front();
            self.settled += 1;
        }
    }

    fn on_rejected(&mut self, rejected: Rejected) {
        let skip = match rejected {
            Rejected::FedByBus => Skip::OtherSequence,
            Rejected::TooManyChannels | Rejected::TooManyKeys => Skip::NoRoom,
            Rejected::DiskFull | Rejected::JournalFailed | Rejected::HandedOver => Skip::Journal,
            Rejected::Stale(_) => Skip::Repeated,
        };
        self.skip(skip, &rejected.to_string());
    }
}

/// The numbering of a bus sequence: a pure function of what tells it from every other, the same on
/// every edge, on every machine and in every release.
#[cfg(any(feature = "amqp", feature = "kafka", feature = "nats", feature = "redis"))]
pub(super) fn epoch(parts: &[&[u8]]) -> Epoch {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // The length keeps ("ab", "c") from ("a", "bc").
        let len = (part.len() as u64).to_le_bytes();
        for byte in len.iter().chain(part.iter()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    // FNV-1a is weak in its low bits; this is the finish of splitmix64.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Epoch(hash ^ (hash >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mistake is told although another with the same reason was told before, and each only once;
    /// what a filter passes over is none.
    #[test]
    fn the_first_of_each_way_is_told() {
        let (missing, part) =
            (|name: &str| Unmapped::Missing(name.into()), Unmapped::NoPart("/a".into()));
        let mut ways = Ways::default();
        let told = [missing("{a}"), missing("{b}"), part.clone(), Unmapped::Filtered, part]
            .map(|why| ways.is_first(&why));
        assert_eq!(told, [true, false, true, false, false]);
    }
}
