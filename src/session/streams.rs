//! Several channels as one event stream: each event names its channel, and its id says where the
//! client stands in all of them.

use std::{fmt::Write, time::Duration};

use super::{Call, Delivery};
use crate::{
    access::Bearer,
    frame::Format,
    ids::{ChannelName, Position},
    resume::{Begun, Gap, Start},
    wire::{sse, websocket},
};

/// The state of such a stream.
#[derive(Debug)]
pub(super) struct Streams {
    origin: Option<String>,
    /// In the order of the request.
    reads: Vec<Read>,
    called: usize,
    /// Whether all are live, and the head is written.
    pub(super) is_live: bool,
    /// What it came with, until the shard takes it.
    pub(super) bearer: Option<Bearer>,
}

#[derive(Debug)]
struct Read {
    channel: ChannelName,
    start: Start,
    /// Where the client stands, once the subscription is live.
    position: Option<Position>,
    /// With what it began.
    gap: Option<Gap>,
}

impl Streams {
    pub(super) fn new(channels: Vec<(ChannelName, Start)>, origin: Option<&str>) -> Self {
        let reads = channels.into_iter();
        let reads =
            reads.map(|(channel, start)| Read { channel, start, position: None, gap: None });
        let origin = origin.map(str::to_owned);
        Streams { origin, reads: reads.collect(), called: 0, is_live: false, bearer: None }
    }

    pub(super) fn next_call(&mut self) -> Option<Call> {
        let Read { channel, start, .. } = self.reads.get(self.called)?;
        self.called += 1;
        Some(Call::Subscribe { channel: channel.clone(), format: Format::WebSocket, start: *start })
    }

    /// Writes the head once every channel is live.
    pub(super) fn on_subscribed(
        &mut self,
        channel: &ChannelName,
        begun: &Begun,
        retry: Duration,
        out: &mut Vec<u8>,
    ) {
        let Some(read) = self.reads.iter_mut().find(|read| read.channel == *channel) else {
            return;
        };
        (read.position, read.gap) = (Some(begun.position), begun.gap);
        if self.is_live || self.reads.iter().any(|read| read.position.is_none()) {
            return;
        }
        self.is_live = true;
        sse::write_head(self.origin.take().as_deref(), "", out);
        let id = self.id();
        let gaps = self.reads.iter_mut().filter_map(|read| Some((&read.channel, read.gap.take()?)));
        let gaps: Vec<(&ChannelName, Gap)> = gaps.collect();
        sse::write_first(retry, Some(&*id).filter(|_| gaps.is_empty()), out);
        for (at, (channel, gap)) in gaps.iter().enumerate() {
            let id = Some(&*id).filter(|_| at + 1 == gaps.len());
            sse::write_gap(&format!("{channel};gap"), id, channel, gap, out);
        }
    }

    pub(super) fn on_publication(&mut self, delivery: &Delivery<'_>, out: &mut Vec<u8>) {
        let Delivery { channel, position, kind, frame } = delivery;
        if let Some(gap) = delivery.gap() {
            return self.on_gap(channel, &gap, out);
        }
        if self.stand_at(channel, *position) {
            sse::write_event(&self.id(), channel, *kind, websocket::payload(frame), out);
        }
    }

    pub(super) fn on_gap(&mut self, channel: &ChannelName, gap: &Gap, out: &mut Vec<u8>) {
        if self.stand_at(channel, gap.to) {
            sse::write_gap(&format!("{channel};gap"), Some(&self.id()), channel, gap, out);
        }
    }

    /// `false` where it is not live, or not in this channel.
    fn stand_at(&mut self, channel: &ChannelName, position: Position) -> bool {
        let read = self.reads.iter_mut().find(|read| read.channel == *channel);
        let known = read.map(|read| read.position = Some(position)).is_some();
        known && self.is_live
    }

    /// The vector of positions.
    fn id(&self) -> String {
        let mut id = String::new();
        for Read { channel, position, .. } in &self.reads {
            let Some(position) = position else { continue };
            let comma = if id.is_empty() { "" } else { "," };
            write!(id, "{comma}{channel}={position}").expect("a String takes every write");
        }
        id
    }
}
