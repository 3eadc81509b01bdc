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
        let mut last = Event::of(content).expect("the first chunk is no comment");
        if let Some(gap) = begun.gap {
            assert_eq!(last.id, "", "whoever has the id has the gap");
            let Some((content, more)) = take_chunk(&rest[len..]) else { return 0 };
            last = Event::of(content).expect("a gap is no comment");
            assert_eq!((last.kind.as_str(), gap_of(&last).1), ("gap", gap));
            len += more;
        }
        assert_eq!(last.id, begun.position.to_string());
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
        // What is missing is told before the id: whoever has the one has the other.
        let (mut len, mut gaps) = (0, Vec::new());
        let id = loop {
            let Some((content, more)) = take_chunk(&rest[len..]) else { return 0 };
            let event = Event::of(content).expect("the first chunks are no comments");
            if len > 0 {
                gaps.push(gap_of(&event));
            }
            len += more;
            if !event.id.is_empty() {
                break event.id;
            }
        };
        for (read, position) in self.positions(&id, sight).into_iter().enumerate() {
            let name = self.reads[read].name(&sight.plan.channels);
            let gap = gaps.iter().find(|(channel, _)| channel == name).map(|(_, gap)| *gap);
            let begun = Begun { position, recovered: Some(gap.is_none()), gap };
            self.begin(read, &begun, sight);
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
        let (name, mark) = event.kind.split_once(';').unwrap_or((&event.kind, ""));
        let channels = &sight.plan.channels;
        let read = self.reads.iter().position(|read| read.name(channels) == name);
        let read = read.unwrap_or_else(|| panic!("an event of {name}"));
        match mark {
            "gap" => {
                let (channel, gap) = gap_of(event);
                assert_eq!(channel, name);
                self.gap(read, gap, sight);
            }
            "" | "json" | "base64" => {
                let payload = payload_of(event, mark == "base64");
                self.hear(read, &payload, Some(positions[read]), sight);
            }
            _ => panic!("an event {}", event.kind),
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
