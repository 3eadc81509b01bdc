//! A publication's way: what was promised about it, its position, the journal, the channel.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    Home,
    kept::Kept,
    presence::NOBODY,
    remembered::{First, IDEMPOTENCY_US},
    sequences::Numbered,
};
use crate::{
    ids::{Bucket, ChannelName, Epoch, Offset, Position},
    mesh::{Accepted, Answer, Asker, Publish, Rejected, Terms},
    policy::{Mode, Policy},
};

/// The highest age that a restored publication is given, in hundredths of a second: 124 days, above
/// every age that a policy may have, and far from where ages wrap.
const AGE_MAX: u32 = u32::MAX / 4;

/// What a home has done with a publication, for counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Publications that got a position and became visible.
    pub publications: u32,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Formats they were encoded in, added up.
    pub encodings: u32,
}

/// A publication that must be on disk before anybody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Its offset.
    pub offset: u64,
    /// What it is.
    pub publish: Publish,
}

/// Publications that wait for the journal, by bucket, in order.
#[derive(Default)]
pub(super) struct Waiting {
    by_bucket: HashMap<Bucket, VecDeque<Waiter>>,
}

struct Waiter {
    offset: u64,
    publish: Publish,
    /// It is answered as the one that it repeats.
    repeats: bool,
    /// The version of its key before it.
    version_before: Option<u64>,
    /// The numbering that it was given its offset in.
    epoch: Epoch,
}

impl Waiting {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.by_bucket.is_empty()
    }

    fn put(&mut self, waiter: Waiter) {
        self.by_bucket.entry(waiter.publish.channel.bucket()).or_default().push_back(waiter);
    }

    /// The next that raises the version of the same key.
    fn next_version(&mut self, publish: &Publish) -> Option<&mut Waiter> {
        let queue = self.by_bucket.get_mut(&publish.channel.bucket())?;
        let key = |publish: &Publish| publish.terms.as_ref().and_then(|terms| terms.key.clone());
        queue.iter_mut().find(|waiter| {
            let terms = waiter.publish.terms.as_ref().filter(|_| !waiter.repeats);
            terms.is_some_and(|terms| terms.version.is_some())
                && waiter.publish.channel == publish.channel
                && key(&waiter.publish).as_deref().unwrap_or("")
                    == key(publish).as_deref().unwrap_or("")
        })
    }

    /// The keys of a channel's publications that wait.
    fn keys(&self, name: &ChannelName) -> HashSet<&str> {
        let waiting = self.by_bucket.get(&name.bucket()).into_iter().flatten();
        let of_channel = waiting.filter(|it| !it.repeats && it.publish.channel == *name);
        of_channel.map(|waiter| key_of(&waiter.publish)).collect()
    }

    /// The oldest of a bucket, if its offset is at most `offset`.
    fn take(&mut self, bucket: Bucket, offset: u64) -> Option<Waiter> {
        let queue = self.by_bucket.get_mut(&bucket)?;
        let waiter = match queue.front() {
            Some(waiter) if waiter.offset <= offset => queue.pop_front(),
            _ => None,
        };
        if queue.is_empty() {
            self.by_bucket.remove(&bucket);
        }
        waiter
    }
}

impl Home {
    /// Takes a publication. It becomes visible and is answered at once, or once it is on disk:
    /// see [`Home::next_answer`] and [`Home::write`]. `now_us` is the server's time.
    pub fn publish(&mut self, publish: Publish, now_us: u64) -> Published {
        match self.decide(&publish, now_us) {
            Decision::Answer(outcome) => self.answer(&publish, outcome),
            Decision::Repeat(offset) => {
                self.waiting.put(Waiter {
                    epoch: self.epoch_of(&publish.channel),
                    offset,
                    publish,
                    repeats: true,
                    version_before: None,
                });
            }
            Decision::Publish => return self.take(publish, now_us),
        }
        Published::default()
    }

    /// What terms and bounds say to a publication.
    fn decide(&mut self, publish: &Publish, now_us: u64) -> Decision {
        let name = &publish.channel;
        if let Some(position) = publish.position {
            match self.number(name, position) {
                Numbered::Next => (),
                Numbered::Repeated => {
                    return Decision::Answer(Ok(self.accepted(name, position, true)));
                }
                Numbered::Elsewhere => return Decision::Answer(Err(Rejected::FedByBus)),
            }
        } else if !self.sequences.is_empty() && self.is_fed(name)
            || matches!(publish.asker, Asker::Input(_)) && self.setup.policies.tells_presence(name)
        {
            return Decision::Answer(Err(Rejected::FedByBus));
        }
        let none = Terms::default();
        let terms = publish.terms.as_deref().unwrap_or(&none);
        if let Some(key) = &terms.idempotency {
            match self.remembered.first(name, key, now_us) {
                Some(First::Waiting(first)) => return Decision::Repeat(first.offset.0 as u64),
                Some(First::Published(position)) => {
                    return Decision::Answer(Ok(self.accepted(name, position, true)));
                }
                None => (),
            }
        }
        let key = terms.key.as_deref().unwrap_or("");
        let known = terms.version.and_then(|_| self.remembered.version(name, key));
        if let Some(known) = known.filter(|&known| terms.version <= Some(known)) {
            return Decision::Answer(Err(Rejected::Stale(known)));
        }
        let channel = self.channels.get(name);
        let policy = match channel {
            Some(channel) => self.policy(channel.pattern),
            None => self.setup.policies.of(name),
        };
        if channel.is_none() && !policy.history.is_none() && self.is_full_for(name) {
            if let Some(position) = publish.position {
                // Whoever comes back from before it must hear of a gap.
                self.forget(name, position);
            }
            return Decision::Answer(Err(Rejected::TooManyChannels));
        }
        let kept = channel.and_then(|channel| channel.kept.as_deref());
        if policy.mode == Mode::Latest && !self.has_room_for(name, key, kept, policy) {
            return Decision::Answer(Err(Rejected::TooManyKeys));
        }
        Decision::Publish
    }

    /// Whether a channel of latest values has a value of this key, or may have one more, with those
    /// that are on their way to the disk.
    fn has_room_for(
        &self,
        name: &ChannelName,
        key: &str,
        kept: Option<&Kept>,
        policy: &Policy,
    ) -> bool {
        let (keys, keys_max) = (kept.map_or(0, Kept::keys), policy.history.count as usize);
        if policy.history.is_none() || kept.is_some_and(|kept| kept.has_key(key)) {
            return true;
        }
        let waiting = self.waiting.keys(name);
        let is_new = |key: &&&str| !kept.is_some_and(|kept| kept.has_key(key));
        waiting.contains(key) || keys + waiting.iter().filter(is_new).count() < keys_max
    }

    /// Gives a publication its position.
    fn take(&mut self, publish: Publish, now_us: u64) -> Published {
        if let Some(position) = publish.position {
            return self.show(&publish, position, now_us);
        }
        let name = &publish.channel;
        let last = &mut self.offsets[usize::from(name.bucket().0)];
        *last += 1;
        let offset = *last;
        let position = self.position(name, offset);
        let is_journaled = self.is_journaled(name);
        let version_before = self.raise_version(&publish);
        if is_journaled {
            self.remember_key(&publish, First::Waiting(position), now_us + IDEMPOTENCY_US);
            self.durables.push_back(Durable { offset, publish: publish.clone() });
            self.waiting.put(Waiter {
                offset,
                publish,
                repeats: false,
                version_before,
                epoch: position.epoch,
            });
            return Published::default();
        }
        self.remember_key(&publish, First::Published(position), now_us + IDEMPOTENCY_US);
        self.show(&publish, position, now_us)
    }

    /// Makes a publication visible, and answers it.
    fn show(&mut self, publish: &Publish, position: Position, now_us: u64) -> Published {
        let published = self.apply(publish, position, now_us);
        let accepted = self.accepted(&publish.channel, position, false);
        self.answer(publish, Ok(accepted));
        published
    }

    /// Remembers what became of a publication's idempotency key, if it has one, until `until_us`.
    fn remember_key(&mut self, publish: &Publish, first: First, until_us: u64) {
        let terms = publish.terms.as_deref();
        if let Some(key) = terms.and_then(|terms| terms.idempotency.as_deref()) {
            self.remembered.put(&publish.channel, key, first, until_us);
        }
    }

    /// Remembers the publication's version, if it has one. Returns that of its key before it.
    fn raise_version(&mut self, publish: &Publish) -> Option<u64> {
        let (name, terms) = (&publish.channel, publish.terms.as_deref()?);
        let key = terms.key.as_deref().unwrap_or("");
        let before = self.remembered.version(name, key);
        if terms.version.is_some() {
            self.remembered.set_version(name, key, terms.version);
        }
        before
    }

    /// Hears from the journal that everything of a bucket up to this offset is on disk, or that
    /// nothing of it is.
    pub fn on_landed(
        &mut self,
        bucket: Bucket,
        offset: u64,
        result: Result<(), Rejected>,
        now_us: u64,
    ) -> Published {
        let mut published = Published::default();
        while let Some(waiter) = self.waiting.take(bucket, offset) {
            let Waiter { offset, publish, repeats, version_before, epoch } = waiter;
            let position = self.position(&publish.channel, offset);
            let name = publish.channel.clone();
            // A bus may have taken the channel meanwhile: the offset means nothing there.
            let is_taken = position.epoch != epoch;
            let result = if is_taken { Err(Rejected::FedByBus) } else { result };
            let outcome = match (repeats, result) {
                (false, Ok(())) => {
                    published += self.apply(&publish, position, now_us);
                    // The version was set when it came, and may have been raised since.
                    let until_us = now_us + IDEMPOTENCY_US;
                    self.remember_key(&publish, First::Published(position), until_us);
                    Ok(self.accepted(&name, position, false))
                }
                (false, Err(rejected)) => {
                    self.break_promise(&publish, version_before);
                    Err(rejected)
                }
                // The disk is what may refuse one and take the next.
                (true, result) => self
                    .repeated(&publish, now_us)
                    .ok_or(result.err().unwrap_or(Rejected::DiskFull)),
            };
            self.answer(&publish, outcome);
        }
        published
    }

    /// The answer to a publication that repeats one which has waited.
    fn repeated(&mut self, publish: &Publish, now_us: u64) -> Option<Accepted> {
        let key = publish.terms.as_deref()?.idempotency.as_deref()?;
        match self.remembered.first(&publish.channel, key, now_us)? {
            First::Published(position) => Some(self.accepted(&publish.channel, position, true)),
            First::Waiting(_) => None,
        }
    }

    fn break_promise(&mut self, publish: &Publish, version_before: Option<u64>) {
        let Some(terms) = publish.terms.as_deref() else { return };
        if let Some(key) = &terms.idempotency {
            self.remembered.take(&publish.channel, key);
        }
        let key = terms.key.as_deref().unwrap_or("");
        if terms.version.is_none() {
            return;
        }
        // Another may have raised it since: if that fails, too, it is as before both.
        if let Some(next) = self.waiting.next_version(publish) {
            next.version_before = version_before;
        } else if self.remembered.version(&publish.channel, key) == terms.version {
            self.remembered.set_version(&publish.channel, key, version_before);
        }
    }

    /// Takes a publication from the journal of an earlier run, in the order of its bucket. `age_us`
    /// is how long ago it came.
    pub fn restore(&mut self, publish: &Publish, offset: u64, now_us: u64, age_us: u64) {
        let last = &mut self.offsets[usize::from(publish.channel.bucket().0)];
        *last = offset.max(*last);
        let position = self.position(&publish.channel, offset);
        let policy = self.setup.policies.of(&publish.channel);
        if policy.history.is_none() {
            self.forgotten.note(&publish.channel, u128::from(offset));
            return;
        }
        // However many there may be now: the next compaction would drop what is not here.
        self.restore_channel(&publish.channel, offset);
        self.append(publish, position, now_us, age_us);
        let left_us = IDEMPOTENCY_US.saturating_sub(age_us);
        if left_us > 0 {
            self.remember_key(publish, First::Published(position), now_us + left_us);
        }
        self.raise_version(publish);
    }

    /// Makes the channel of the first of its records that is left, unless it is there. What the
    /// journal has dropped of the channel came before that.
    fn restore_channel(&mut self, name: &ChannelName, first: u64) {
        if !self.channels.contains_key(name) {
            let Position { epoch, offset } = self.beginning(name);
            let offset = offset.min(Offset(u128::from(first.saturating_sub(1))));
            self.make_channel(name, Position { epoch, offset });
        }
    }

    /// Any record of a bucket up to this offset may have been dropped from the journal: whoever comes
    /// back from before may have missed it. To be called before [`Home::restore`].
    pub fn restore_floor(&mut self, bucket: Bucket, floor: u64) {
        if floor > 0 {
            self.forgotten.note_all(bucket, u128::from(floor));
        }
    }

    /// Goes on counting a bucket behind this offset.
    pub fn restore_offset(&mut self, bucket: Bucket, offset: u64) {
        let last = &mut self.offsets[usize::from(bucket.0)];
        *last = offset.max(*last);
    }

    /// Makes a publication visible.
    fn apply(&mut self, publish: &Publish, position: Position, now_us: u64) -> Published {
        let (name, bytes) = (&publish.channel, publish.payload.len() as u64);
        let encodings = if self.channels.contains_key(name)
            || !self.setup.policies.of(name).history.is_none()
        {
            self.append(publish, position, now_us, 0)
        } else {
            self.forget(name, position);
            0
        };
        if name.is_probe() {
            return Published::default();
        }
        Published { publications: 1, bytes, encodings }
    }

    pub(super) fn append(
        &mut self,
        publish: &Publish,
        position: Position,
        now_us: u64,
        age_us: u64,
    ) -> u32 {
        let lag_bytes_max = self.setup.lag_bytes_max;
        let name = &publish.channel;
        let now = (now_us / 10_000) as u32;
        let time = now.wrapping_sub(u32::try_from(age_us / 10_000).unwrap_or(AGE_MAX).min(AGE_MAX));
        let tells_nobody =
            publish.payload[..] == *NOBODY && self.setup.policies.tells_presence(name);
        if !self.channels.contains_key(name) && publish.position.is_some() {
            self.make_channel(name, self.beginning_in(name, position.epoch));
        }
        let (channel, policy) = self.channel(name);
        let policy = policy.clone();
        let encodings = channel.append(&policy, publish, position, time);
        if age_us == 0 {
            channel.pace.count(now);
        }
        channel.is_idle = tells_nobody;
        channel.trim(&policy, now, lag_bytes_max);
        let is_timed = channel.kept.as_ref().is_some_and(|kept| kept.timed.is_some());
        if let Some(channel) = self.channels.get_mut(name) {
            channel.owe_all(name, &mut self.owed);
        }
        if policy.history.age.is_some() && !is_timed {
            self.look_after(name, now_us);
        }
        if tells_nobody {
            self.free_if_empty(name);
        }
        encodings
    }

    fn position(&self, name: &ChannelName, offset: u64) -> Position {
        Position { epoch: self.epoch_of(name), offset: Offset(u128::from(offset)) }
    }

    fn accepted(&self, name: &ChannelName, position: Position, repeated: bool) -> Accepted {
        let channel = self.channels.get(name);
        let subscribers = channel.map_or(0, |channel| channel.subscribers());
        Accepted { position, subscribers, repeated }
    }

    fn answer(&mut self, publish: &Publish, outcome: Result<Accepted, Rejected>) {
        self.answers.push_back((publish.asker, Answer { ticket: publish.ticket, outcome }));
    }

    /// An answer that a publisher is owed, the oldest first.
    pub fn next_answer(&mut self) -> Option<(Asker, Answer)> {
        self.answers.pop_front()
    }

    /// Hands over publications that must be on disk first, the oldest first, until `push` gives one
    /// back: the rest is handed over next time.
    pub fn write(&mut self, mut push: impl FnMut(Durable) -> Result<(), Durable>) {
        while let Some(durable) = self.durables.pop_front() {
            if let Err(durable) = push(durable) {
                self.durables.push_front(durable);
                break;
            }
        }
    }

    /// Whether publications wait for the journal, or to be handed to it.
    pub fn awaits_journal(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether publications have yet to be handed to the journal.
    pub fn owes_journal(&self) -> bool {
        !self.durables.is_empty()
    }
}

/// What a publication is the value of.
fn key_of(publish: &Publish) -> &str {
    let terms = publish.terms.as_deref();
    terms.and_then(|terms| terms.key.as_deref()).unwrap_or("")
}

/// What terms and bounds say to a publication.
enum Decision {
    /// There is nothing to publish.
    Answer(Result<Accepted, Rejected>),
    /// It repeats the one with this offset, which waits for the journal.
    Repeat(u64),
    Publish,
}

impl std::ops::AddAssign for Published {
    fn add_assign(&mut self, other: Published) {
        self.publications += other.publications;
        self.bytes += other.bytes;
        self.encodings += other.encodings;
    }
}
