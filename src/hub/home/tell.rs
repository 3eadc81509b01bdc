//! What a home tells those who read its channels.

use std::collections::VecDeque;

use super::{Home, channel::Channel};
use crate::{
    frame::Format,
    hub::{Ask, Beginning, Message, Said, ViewId},
    ids::{ChannelName, ShardId},
};

/// A view somewhere that reads the channel.
pub(super) struct Interest {
    pub from: ShardId,
    pub view: ViewId,
    pub format: Format,
    pub subscribers: u32,
    pub congested: bool,
    /// Whether the view was told that it is live.
    live: bool,
    /// Whether it stands in the queue of those that are owed news.
    owed: bool,
    /// The byte up to which it was told.
    pub told: u64,
}

/// What a shard is yet to be told.
pub(super) enum Owed {
    /// Whatever the view does not know.
    News { channel: ChannelName, view: ViewId },
    /// That there are too many channels.
    Refusal { view: ViewId },
    /// Where a subscriber begins.
    Beginning { channel: ChannelName, ask: Ask },
}

impl Interest {
    /// The channel has begun anew: the view is to be told so, and everything behind this byte.
    pub fn begin_anew(&mut self, told: u64) {
        (self.live, self.told) = (false, told);
    }
}

impl Home {
    /// Takes what a reading shard says of its view.
    pub fn on_interest(&mut self, name: &ChannelName, said: Said, now_us: u64) {
        if said.first {
            return self.add_interest(name, said);
        }
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        let Said { from, view, format, subscribers, congested, .. } = said;
        let of_view = |interest: &Interest| (interest.from, interest.view) == (from, view);
        let Some(place) = channel.interests.iter().position(of_view) else {
            return;
        };
        let pattern = channel.pattern;
        if subscribers > 0 {
            let interest = &mut channel.interests[place];
            (interest.subscribers, interest.congested) = (subscribers, congested);
        } else {
            channel.interests.swap_remove(place);
            let is_read = channel.interests.iter().any(|interest| interest.format == format);
            if !is_read && channel.unread(format, now_us) {
                self.look_after(name, now_us);
            }
        }
        self.on_presence(name, pattern);
        self.free_if_empty(name);
    }

    fn add_interest(&mut self, name: &ChannelName, said: Said) {
        let Said { from, view, format, subscribers, congested, .. } = said;
        if self.is_full_for(name) {
            self.owed[usize::from(from.0)].push_back(Owed::Refusal { view });
            return;
        }
        let epoch = self.epoch_of(name);
        let lag_bytes_max = self.setup.lag_bytes_max;
        let (channel, policy) = self.channel(name);
        channel.read(name, policy, epoch, format);
        channel.forget_told(lag_bytes_max);
        let told = channel.head(format).map_or(0, |head| head.mark.byte);
        let pattern = channel.pattern;
        let (live, owed) = (false, true);
        let interest = Interest { from, view, format, subscribers, congested, live, owed, told };
        // Most channels of a million have one reader.
        channel.interests.reserve_exact(1);
        channel.interests.push(interest);
        self.owed[usize::from(from.0)].push_back(Owed::News { channel: name.clone(), view });
        self.on_presence(name, pattern);
    }

    /// Takes the question of where a subscriber begins. It is answered in the order of what its
    /// shard is told.
    pub fn on_ask(&mut self, name: ChannelName, ask: Ask) {
        let Some(ask) = self.hold_ask(&name, ask) else { return };
        self.owed[usize::from(ask.from.0)].push_back(Owed::Beginning { channel: name, ask });
    }

    /// Whether somebody is owed news.
    pub fn owes(&self) -> bool {
        self.owed.iter().any(|queue| !queue.is_empty())
    }

    /// Tells `target` what it is owed, oldest debt first, until `push` gives a message back: then
    /// its inbox is full, and the rest is told next time, merged with what comes until then.
    pub fn tell(&mut self, target: ShardId, mut push: impl FnMut(Message) -> Result<(), Message>) {
        while let Some(owed) = self.owed[usize::from(target.0)].pop_front() {
            let pushed = match &owed {
                Owed::Refusal { view } => push(Message::Refused { view: *view }).is_ok(),
                Owed::News { channel, view } => self.tell_news(channel, target, *view, &mut push),
                Owed::Beginning { channel, ask } => self.tell_beginning(channel, ask, &mut push),
            };
            if !pushed {
                self.owed[usize::from(target.0)].push_front(owed);
                break;
            }
        }
    }

    fn tell_news(
        &mut self,
        name: &ChannelName,
        target: ShardId,
        view: ViewId,
        push: &mut impl FnMut(Message) -> Result<(), Message>,
    ) -> bool {
        let Some(channel) = self.channels.get_mut(name) else { return true };
        let knows_all = channel.tell(target, view, push);
        channel.forget_told(self.setup.lag_bytes_max);
        knows_all
    }

    /// A subscriber that has gone meanwhile, or whose view was refused, is told nothing.
    fn tell_beginning(
        &mut self,
        name: &ChannelName,
        ask: &Ask,
        push: &mut impl FnMut(Message) -> Result<(), Message>,
    ) -> bool {
        let Some(channel) = self.channels.get_mut(name) else { return true };
        let of_view = |reader: &Interest| (reader.from, reader.view) == (ask.from, ask.view);
        let Some(at) = channel.interests.iter().position(of_view) else { return true };
        // A channel that has begun anew meanwhile: its view would take the answer for the old stream's.
        if !channel.tell_live(at, push) {
            return false;
        }
        let reader = &channel.interests[at];
        let may_be_ahead = self.sequences.has(channel.epoch);
        let Some((place, begun)) = channel.begin(reader.format, may_be_ahead, ask.start) else {
            return true;
        };
        let log = channel.logs[reader.format.index()].as_deref();
        // Also what the view was not told of yet: a window without that would begin anew, and lap
        // everybody else.
        let from = place.mark.byte.min(reader.told);
        let extents = log.map_or_else(Vec::new, |log| log.since(from).collect());
        let Ask { view, reader, number, .. } = *ask;
        let beginning = Beginning { reader, number, mark: place.mark, begun, extents };
        push(Message::Begin { view, beginning: Box::new(beginning) }).is_ok()
    }
}

impl Channel {
    /// Puts the channel's readers into the queues of those that are owed news.
    pub fn owe_all(&mut self, name: &ChannelName, owed: &mut [VecDeque<Owed>]) {
        for interest in self.interests.iter_mut().filter(|interest| !interest.owed) {
            interest.owed = true;
            let news = Owed::News { channel: name.clone(), view: interest.view };
            owed[usize::from(interest.from.0)].push_back(news);
        }
    }

    /// Tells one view what it does not know. Says whether it knows everything then; one that is gone
    /// does.
    fn tell(
        &mut self,
        target: ShardId,
        view: ViewId,
        push: &mut impl FnMut(Message) -> Result<(), Message>,
    ) -> bool {
        let of_view = |interest: &Interest| (interest.from, interest.view) == (target, view);
        let Some(place) = self.interests.iter().position(of_view) else { return true };
        if !self.tell_live(place, push) {
            return false;
        }
        let interest = &mut self.interests[place];
        let (format, told) = (interest.format, interest.told);
        let log = self.logs[format.index()].as_deref();
        for extent in log.into_iter().flat_map(|log| log.since(told)) {
            let end = extent.end.byte;
            if push(Message::Head { view, extent }).is_err() {
                return false;
            }
            interest.told = end;
        }
        interest.owed = false;
        true
    }

    /// Tells a view that it is live, unless it knows. Says whether it knows then.
    fn tell_live(
        &mut self,
        place: usize,
        push: &mut impl FnMut(Message) -> Result<(), Message>,
    ) -> bool {
        let Interest { format, told, live, view, .. } = self.interests[place];
        if live {
            return true;
        }
        let Some(head) = self.head(format) else { return true };
        let log = self.logs[format.index()].as_deref();
        let head = log.map_or(head, |log| log.behind_byte(told));
        let live = push(Message::Live { view, head, epoch: self.epoch }).is_ok();
        self.interests[place].live = live;
        live
    }
}
