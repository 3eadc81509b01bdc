//! Clients that poll: a request, an answer, and the next request from where that left them.

use serde_json::Value;
use stentor::{
    ids::Position,
    resume::{Gap, Start},
};

use super::{Asked, Client, Sight};
use crate::{
    book::Opening,
    wire::{self, Head},
};

impl Client {
    pub(super) fn poll_request(&mut self, sight: &mut Sight<'_>) -> String {
        let name = self.reads[0].name(&sight.plan.channels);
        let timeout = format!("timeout={}", sight.dice.of(&["0", "0.3", "1", "3"]));
        match self.reads[0].start() {
            Start::Since(since) if sight.dice.one_in(2) => {
                let header = format!("If-None-Match: \"{since}\"\r\n");
                wire::request(&format!("/poll/{name}?{timeout}"), &header)
            }
            Start::Since(since) => {
                wire::request(&format!("/poll/{name}?since={since}&{timeout}"), "")
            }
            Start::Last(last) => wire::request(&format!("/poll/{name}?last={last}&{timeout}"), ""),
            Start::Live => wire::request(&format!("/poll/{name}?{timeout}"), ""),
        }
    }

    pub(super) fn decode_poll(&mut self, head: &Head, rest: &[u8], sight: &mut Sight<'_>) -> usize {
        let position: Position = head.get("ETag").trim_matches('"').parse().expect("a tag");
        let len: usize = match head.status {
            304 => 0,
            _ => head.get("Content-Length").parse().expect("a length"),
        };
        let Some(body) = rest.get(..len) else { return 0 };
        let asked = self.reads[0].asked.take().expect("it asks");
        let mut gap = None;
        let mut publications = Vec::new();
        if head.status == 200 {
            let body: Value = serde_json::from_slice(body).expect("JSON");
            assert_eq!(body["position"].as_str(), Some(position.to_string().as_str()));
            gap = body.get("gap").map(gap_of);
            assert_eq!(body["recovered"].as_bool(), Some(gap.is_none()));
            publications = body["publications"].as_array().expect("an array").clone();
        } else {
            assert_eq!(asked.start, Start::Since(position), "a 304 with another tag");
        }
        self.note_poll(asked, gap, &publications, position, sight);
        if sight.dice.one_in(4) || self.is_resting {
            self.disconnect(sight);
        } else {
            self.poll_again(sight);
        }
        head.len + len
    }

    /// Each poll is a stint of its own.
    fn note_poll(
        &mut self,
        asked: Asked,
        gap: Option<Gap>,
        publications: &[Value],
        position: Position,
        sight: &mut Sight<'_>,
    ) {
        let Asked { start, goes_on, at, .. } = asked;
        let begin = match (start, gap) {
            (Start::Since(since), None) if since.epoch == position.epoch => Some(since),
            _ => None,
        };
        let channel = self.reads[0].channel;
        let (client, how) = (self.id, "poll");
        let opening = Opening { client, channel, how, start, goes_on, asked: at, begin, gap: None };
        let stint = sight.book.open(opening, sight.now_us);
        self.reads[0].stint = Some(stint);
        if let Some(gap) = gap {
            assert!(!publications.is_empty() || gap.to == position, "{gap:?} up to {position}");
            self.gap(0, gap, sight);
        }
        for publication in publications {
            self.hear_publication(publication, sight);
        }
        if sight.plan.channels[channel].counts.is_none() {
            sight.book.tell_position(stint, position);
        }
        sight.book.close(stint);
        (self.reads[0].stint, self.reads[0].place) = (None, Some(position));
    }

    fn poll_again(&mut self, sight: &mut Sight<'_>) {
        self.reads[0].asked = Some(self.reads[0].ask(sight));
        let request = self.poll_request(sight);
        if let Some(connection) = &mut self.connection {
            connection.unsent = request;
        }
        self.send_more(usize::MAX);
    }
}

pub(super) fn gap_of(gap: &Value) -> Gap {
    let position = |field: &str| gap[field].as_str().and_then(|it| it.parse().ok());
    Gap { from: position("from").expect("a position"), to: position("to").expect("a position") }
}
