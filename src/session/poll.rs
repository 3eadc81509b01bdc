//! A long-poll: one request that waits for something to be published.

use std::{mem, time::Duration};

use super::Delivery;
use crate::{
    access::Bearer,
    ids::Position,
    resume::{Begun, Gap},
    wire::{
        json,
        poll::{Answer, Envelope, write_answer, write_not_modified},
        route,
    },
};

/// How long a poll waits that does not say.
const TIMEOUT: Duration = Duration::from_secs(25);

/// A long-poll that has yet to be answered.
#[derive(Debug)]
pub(super) struct Poll {
    tag: Option<Position>,
    /// How long it waits once it is live.
    pub(super) timeout: Duration,
    origin: Option<String>,
    /// Whether the connection ends with the answer.
    pub(super) close: bool,
    /// Where the client stands, once the subscription is live.
    position: Option<Position>,
    gap: Option<Gap>,
    /// JSON objects with commas between them.
    publications: Vec<u8>,
    /// What the peer sent right behind its request.
    pub(super) rest: Vec<u8>,
    /// What it came with, until the shard takes it.
    pub(super) bearer: Option<Bearer>,
}

impl Poll {
    pub(super) fn new(asked: &route::Poll<'_>, timeout_max: Duration) -> Self {
        Poll {
            tag: asked.tag,
            timeout: asked.timeout.unwrap_or(TIMEOUT).min(timeout_max),
            origin: asked.origin.map(str::to_owned),
            close: asked.close,
            position: None,
            gap: None,
            publications: Vec::new(),
            rest: Vec::new(),
            bearer: None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.position.is_some()
    }

    pub(super) fn on_live(&mut self, begun: &Begun) {
        self.position = Some(begun.position);
        self.gap = begun.gap;
    }

    /// Takes a publication, or a gap in place of one; `false` if it has to wait for the next answer.
    pub(super) fn on_publication(&mut self, delivery: &Delivery<'_>) -> bool {
        if let Some(gap) = delivery.gap() {
            return self.on_gap(&gap);
        }
        if !self.publications.is_empty() {
            self.publications.push(b',');
        }
        self.publications.extend_from_slice(json::object(delivery.frame));
        self.position = Some(delivery.position);
        true
    }

    /// Takes note of a gap. An answer has one, before its publications: `false` if this one has to
    /// wait for the next answer, which will find it.
    pub(super) fn on_gap(&mut self, gap: &Gap) -> bool {
        if !self.publications.is_empty() {
            return false;
        }
        let from = self.gap.map_or(gap.from, |first| first.from);
        self.gap = Some(Gap { from, to: gap.to });
        self.position = Some(gap.to);
        true
    }

    /// The client is to go on from this position, unless something came that says so already.
    pub(super) fn on_parted(&mut self, position: Position) {
        if self.publications.is_empty() {
            self.position = Some(position);
        }
    }

    /// Whether there is something to answer, or no time to wait for it.
    pub(super) fn is_due(&self) -> bool {
        self.is_live()
            && (!self.publications.is_empty() || self.gap.is_some() || self.timeout.is_zero())
    }

    /// Writes the answer; whether the connection may be used again.
    pub(super) fn answer(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(position) = self.position else { return false };
        // What came behind the request is not another's beginning for sure, so nothing is read on.
        let close = self.close || !self.rest.is_empty();
        let envelope = Envelope { origin: self.origin.as_deref(), close };
        let publications = mem::take(&mut self.publications);
        if publications.is_empty() && self.gap.is_none() && self.tag == Some(position) {
            write_not_modified(position, &envelope, out);
        } else {
            let answer = Answer { position, gap: self.gap, publications: &publications };
            write_answer(&answer, &envelope, out);
        }
        !close
    }
}
