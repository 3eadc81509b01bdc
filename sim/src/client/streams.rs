//! Clients of server-sent events, of one channel and of several.

use data_encoding::BASE64;
use stentor::{
    ids::Position,
    resume::{Gap, Start},
};

use super::{Begun, Client, Kind, Sight, begun_of};
use crate::wire::{self, Event, Head, take_chunk};

impl Client {
    pub(super) fn streams_request(&mut self, sight: &mut Sight<'_>) -> String {
        let channels = &sight.plan.channels;
        let names: Vec<&str> = self.reads.iter().map(|read| read.name(channels)).collect();
        let mut since = Vec::new();
        let mut last = None;
        for read in &mut self.reads {
            let asked = read.asked.as_mut().expect("it asks");
            match asked.start {
                Start::Since(at) => since.push(format!("{}={at}", channels[read.channel].name)),
                Start::Last(count) => _ = last.get_or_insert(count),
                Start::Live => (),
            }
        }
        // One number holds for all that name no position.
        for read in &mut self.reads {
            let asked = read.asked.as_mut().expect("it asks");
            if !matches!(asked.start, Start::Since(_)) {
                asked.start = last.map_or(Start::Live, Start::Last);
            }
        }
        let (names, since) = (names.join(","), since.join(","));
        let last = last.map_or(String::new(), |last| format!("&last={last}"));
        if since.is_empty() {
            return wire::request(&format!("/sse?channels={names}{last}"), "");
        }
        match sight.dice.one_in(2) {
            true => {
                let header = format!("Last-Event-ID: {since}\r\n");
                wire::request(&format!("/sse?channels={names}{last}"), &header)
            }
            false => wire::request(&format!("/sse?channels={names}&since={since}{last}"), ""),
        }
    }

    /// The answer to a request for one channel: its head, and the first chunk.
    pub(super) fn decode_stream(
        &mut self,
        head: &Head,
        rest: &[u8],
        sight: &mut Sight<'_>,
    ) -> usize {
        let Some((content, mut len)) = take_chunk(rest) else { return 0 };
        let begun = begun_of(head);
        let first = Event::of(content).expect("the first chunk is no comment");
        assert_eq!(first.id, begun.position.to_string());
        if let Some(gap) = begun.gap {
            let Some((content, more)) = take_chunk(&rest[len..]) else { return 0 };
            let event = Event::of(content).expect("a gap is no comment");
            assert_eq!((event.kind.as_str(), gap_of(&event).1), ("gap", gap));
            len += more;
        }
        self.begin(0, &begun, sight);
        self.connection.as_mut().expect("it is read").is_live = true;
        head.len + len
    }

    /// The answer to a request for several channels: its head, the first chunk, and the gaps.
    pub(super) fn decode_streams(
        &mut self,
        head: &Head,
        rest: &[u8],
        sight: &mut Sight<'_>,
    ) -> usize {
        let Some((content, len)) = take_chunk(rest) else { return 0 };
        let first = Event::of(content).expect("the first chunk is no comment");
        let positions = self.positions(&first.id, sight);
        for (read, &position) in positions.iter().enumerate() {
            // Whether something is missing follows from the position, and must be told next.
            let asked = self.reads[read].asked.expect("it asks").start;
            let from = match asked {
                Start::Since(since) => Some(since),
                _ => None,
            };
            let is_latest = sight.plan.channels[self.reads[read].channel].is_latest();
            let gap = from
                .filter(|&from| from != position && !is_latest)
                .map(|from| Gap { from, to: position });
            let begun = Begun { position, recovered: Some(gap.is_none()), gap };
            self.begin(read, &begun, sight);
            self.owed_gaps.extend(gap.map(|gap| (read, gap)));
        }
        self.connection.as_mut().expect("it is read").is_live = true;
        head.len + len
    }

    /// The positions of an id, one for each channel, in their order.
    fn positions(&self, id: &str, sight: &Sight<'_>) -> Vec<Position> {
        let pairs: Vec<(&str, &str)> =
            id.split(',').map(|pair| pair.split_once('=').expect("channel=position")).collect();
        assert_eq!(pairs.len(), self.reads.len(), "{id}");
        let position = |(read, (name, position)): (&super::Read, &(&str, &str))| {
            assert_eq!(*name, read.name(&sight.plan.channels));
            position.parse().expect("a position")
        };
        self.reads.iter().zip(&pairs).map(position).collect()
    }

    pub(super) fn decode_event(&mut self, got: &[u8], sight: &mut Sight<'_>) -> usize {
        let Some((content, len)) = take_chunk(got) else { return 0 };
        if content.is_empty() {
            self.connection.as_mut().expect("it is read").is_told = true;
            return len;
        }
        let Some(event) = Event::of(content) else { return len };
        match self.kind {
            Kind::Sse => self.on_event(&event, sight),
            _ => self.on_channel_event(&event, sight),
        }
        len
    }

    fn on_event(&mut self, event: &Event, sight: &mut Sight<'_>) {
        let position = event.id.parse().expect("a position");
        match event.kind.as_str() {
            "gap" => {
                let (name, gap) = gap_of(event);
                assert_eq!(name, self.reads[0].name(&sight.plan.channels));
                assert_eq!(gap.to, position);
                self.gap(0, gap, sight);
            }
            kind => self.hear(0, &payload_of(event, kind == "base64"), Some(position), sight),
        }
    }

    fn on_channel_event(&mut self, event: &Event, sight: &mut Sight<'_>) {
        let positions = self.positions(&event.id, sight);
        let (name, is_base64) = match event.kind.strip_suffix(";base64") {
            Some(name) => (name, true),
            None => (event.kind.strip_suffix(";json").unwrap_or(&event.kind), false),
        };
        let gap = (name == "gap" || name.ends_with(";gap")).then(|| gap_of(event));
        let name = gap.as_ref().map_or(name, |(name, _)| name);
        let channels = &sight.plan.channels;
        let read = self.reads.iter().position(|read| read.name(channels) == name);
        let read = read.unwrap_or_else(|| panic!("an event of {name}"));
        match gap {
            Some((_, gap)) => match self.owed_gaps.iter().position(|&owed| owed == (read, gap)) {
                Some(owed) => _ = self.owed_gaps.remove(owed),
                None => self.gap(read, gap, sight),
            },
            None => {
                assert!(self.owed_gaps.is_empty(), "gaps come first: {:?}", self.owed_gaps);
                self.hear(read, &payload_of(event, is_base64), Some(positions[read]), sight);
            }
        }
        for (read, position) in self.reads.iter().zip(positions) {
            assert_eq!(read.place, Some(position), "the id {} says where it stands", event.id);
        }
    }
}

fn gap_of(event: &Event) -> (String, Gap) {
    let data = event.data.as_deref().expect("a gap has data");
    let data: serde_json::Value = serde_json::from_str(data).expect("a gap is JSON");
    let text = |field: &str| data[field].as_str().expect("a string").to_owned();
    let position = |field| text(field).parse().expect("a position");
    (text("channel"), Gap { from: position("from"), to: position("to") })
}

fn payload_of(event: &Event, is_base64: bool) -> Vec<u8> {
    let data = event.data.as_deref().expect("an event has data");
    match is_base64 {
        true => BASE64.decode(data.as_bytes()).expect("base64"),
        false => data.as_bytes().to_vec(),
    }
}
