//! Subscribers on their way into channels and out of them, and what befalls the slow.

use super::Shard;
use crate::{
    close::CloseReason,
    frame::Format,
    hub::{Compose, Joined, Lapped, News, NotJoined, Reader, Skipped, Started, Took},
    ids::{ChannelName, Slot, Tick},
    io::Kernel,
    limits::CUT_FRAME_BYTES_MAX,
    resume::{Begun, Start},
    session::{Delivery, Reads, Refused, Rules, Session, Step},
};

impl<K: Kernel> Shard<K> {
    /// Lets a session hear of something, and does what it decides.
    pub(super) fn tell(
        &mut self,
        slot: Slot,
        hear: impl FnOnce(&mut Session, Tick, &Rules, &mut Vec<u8>) -> Step,
    ) {
        let mut out = Vec::new();
        let session = &mut self.sessions[slot.index()];
        let step = hear(session, self.now.tick(), &self.setup.rules, &mut out);
        self.act(slot, step, &out);
    }

    /// Lets a connection read its only channel.
    pub(super) fn subscribe(
        &mut self,
        slot: Slot,
        channel: &ChannelName,
        format: Format,
        start: Start,
    ) {
        self.count_resume(start);
        let (composed, views) = (self.is_composed(slot), self.views.len());
        if let Joined::Live(_, begun) = self.views.join(slot, channel, format, start, composed) {
            self.go_live(slot, &begun);
        }
        self.count_channel(slot, views);
    }

    /// Lets a connection that may read several channels read one more.
    pub(super) fn subscribe_several(
        &mut self,
        slot: Slot,
        channel: &ChannelName,
        format: Format,
        start: Start,
    ) {
        self.count_resume(start);
        let composed = self.is_composed(slot);
        if composed && !self.sessions[slot.index()].takes_publications() {
            // Until the head of the answer is written and sent.
            self.views.hold(slot);
        }
        let views = self.views.len();
        let refused = match self.views.join_several(slot, channel, format, start, composed) {
            Ok(Joined::Live(_, begun)) => return self.go_live_in(slot, channel, &begun),
            Ok(Joined::Waiting(_)) => return self.count_channel(slot, views),
            Err(NotJoined::Already) => Refused::AlreadySubscribed,
            Err(NotJoined::TooMany) => Refused::TooManySubscriptions,
        };
        self.refuse(slot, channel, refused);
    }

    pub(super) fn refuse(&mut self, slot: Slot, channel: &ChannelName, refused: Refused) {
        self.tell(slot, |session, now, rules, out| {
            session.on_refused(channel, refused, now, rules, out)
        });
    }

    /// Takes a connection out of one of its channels. It has begun there: its session waits for the
    /// answer before it calls for anything else of the channel.
    pub(super) fn unsubscribe(&mut self, slot: Slot, channel: &ChannelName) {
        let Some(reader) = self.views.reader_of(slot, channel) else {
            return self.refuse(slot, channel, Refused::NotSubscribed);
        };
        let room = self.outboxes.room().min(CUT_FRAME_BYTES_MAX);
        let left = self.views.leave(reader, room);
        self.keep_rest(slot, left.rest);
        if let Some(position) = left.position {
            self.tell(slot, |session, now, rules, out| {
                session.on_unsubscribed(channel, position, now, rules, out)
            });
        }
    }

    fn is_composed(&self, slot: Slot) -> bool {
        matches!(self.sessions[slot.index()].reads(), Reads::Composed(_))
    }

    fn count_resume(&self, start: Start) {
        if matches!(start, Start::Since(_)) {
            self.counters().resumed.add(1);
        }
    }

    /// The subscription is live: the peer is told, and gets every publication from now on.
    fn go_live(&mut self, slot: Slot, begun: &Begun) {
        self.tell(slot, |session, now, rules, out| session.on_live(begun, now, rules, out));
        self.on_begun(slot);
    }

    fn go_live_in(&mut self, slot: Slot, channel: &ChannelName, begun: &Begun) {
        self.tell_live_in(slot, channel, begun);
        self.on_begun(slot);
    }

    fn tell_live_in(&mut self, slot: Slot, channel: &ChannelName, begun: &Begun) {
        self.tell(slot, |session, now, rules, out| {
            session.on_subscribed(channel, begun, now, rules, out)
        });
    }

    /// What is there already is written at once for those whose publications are written; a poll
    /// waits only if nothing is.
    fn on_begun(&mut self, slot: Slot) {
        if self.states[slot.index()].is_open() && self.is_composed(slot) {
            self.compose(slot);
        }
        // Nothing may have been said, and then nothing is sent after which it would be read on.
        self.listen(slot, false);
    }

    /// What messages of homes mean for subscribers here.
    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Nothing => (),
            News::Started(started) => self.on_started(&started),
            News::Refused(channel, slots) => {
                slots.iter().for_each(|&slot| self.on_no_room(slot, &channel));
            }
            News::Lapped(lapped) => {
                let reason = CloseReason::PeerTooSlow;
                lapped.into_iter().for_each(|lapped| self.on_lapped(lapped, reason));
            }
            News::Renumbered(left) => {
                left.into_iter().for_each(|left| self.on_lapped(left, CloseReason::Renumbered));
            }
        }
        self.tend();
    }

    /// The channel's home has no room for it.
    fn on_no_room(&mut self, slot: Slot, channel: &ChannelName) {
        if self.is_witness(slot) {
            return;
        }
        match self.sessions[slot.index()].is_several() {
            true => {
                self.refuse(slot, channel, Refused::TooManyChannels);
                self.carry_out(slot);
            }
            false => self.end(slot, CloseReason::Overloaded),
        }
    }

    fn on_started(&mut self, started: &Started) {
        let Started { readers, channel, begun, resumed } = started;
        if *resumed && begun.gap.is_none() {
            self.counters().recovered.add(1);
        }
        if begun.gap.is_some() {
            self.counters().gaps.add(1);
        }
        for reader in readers.iter() {
            let slot = self.views.owner(reader);
            if self.is_witness(slot) {
                self.on_witness_live();
                continue;
            }
            if reader == Reader::from(slot) {
                self.go_live(slot, begun);
                continue;
            }
            self.tell_live_in(slot, channel, begun);
            // First of all it leaves what it was to leave meanwhile: nothing of that is for it any more.
            self.carry_out(slot);
            self.on_begun(slot);
        }
    }

    fn on_lapped(&mut self, Lapped { slot, rest, left }: Lapped, reason: CloseReason) {
        if self.is_witness(slot) {
            return;
        }
        self.keep_rest(slot, rest);
        if let Some((_, position)) = left {
            self.tell(slot, |session, now, rules, out| {
                session.on_parted(reason, position, now, rules, out)
            });
        } else if self.outboxes.has(slot) {
            self.make_ready(slot);
        }
    }

    /// Does what a sweep has found to do besides sending.
    pub(super) fn tend(&mut self) {
        while let Some(lapped) = self.views.next_rest() {
            self.on_lapped(lapped, CloseReason::PeerTooSlow);
        }
        while let Some(Skipped { slot, channel, gap, publications }) = self.views.next_skip() {
            if self.is_witness(slot) {
                continue;
            }
            self.counters().skipped.add(u64::from(publications));
            self.counters().gaps.add(1);
            self.tell(slot, |session, now, rules, out| {
                session.on_gap(&channel, &gap, now, rules, out)
            });
        }
        while let Some(slot) = self.views.next_compose() {
            self.compose(slot);
        }
    }

    /// Lets a session write what its connection is owed.
    fn compose(&mut self, slot: Slot) {
        if self.is_witness(slot) {
            return self.take_probe(slot);
        }
        let session = &mut self.sessions[slot.index()];
        if !self.states[slot.index()].is_open() || !session.takes_publications() {
            return;
        }
        let mut out = Vec::new();
        let room = self.outboxes.room_to_compose();
        let (mut bytes, mut frames) = (0, 0);
        self.views.compose(slot, |compose| {
            let Compose { channel, position, kind, frame } = compose;
            if !session.on_publication(&Delivery { channel, position, kind, frame }, &mut out) {
                return Took::Nothing;
            }
            bytes += frame.len();
            frames += 1;
            if bytes < room { Took::More } else { Took::Last }
        });
        let now = self.now.tick();
        if frames > 0 {
            session.on_delivered(now);
        }
        let step = session.on_composed(now, &self.setup.rules, &mut out);
        let counters = self.counters();
        counters.deliveries.add(frames);
        counters.delivered_bytes.add(out.len() as u64);
        self.act(slot, step, &out);
    }
}
