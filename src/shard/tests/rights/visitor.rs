//! A client that knows what it may have: everything that it is told is held against the oracle.

use std::{
    collections::{BTreeMap, HashSet},
    rc::Rc,
    time::Duration,
};

use super::{
    super::protocol::{self, CLOSE, Frame, Head, PING, PONG, masked, take_chunk},
    court::{Court, Since, publications_in, verdict},
    law::{PLACES, Pass, Verdict},
    talk::{Asked, What},
};
use crate::{
    io::sim::{ClientId, SimNet},
    limits::CLOSING_SECONDS_MAX,
};

/// How it speaks to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    WebSocket,
    Sse,
    Streams,
    Poll,
    Commands,
}

impl Way {
    fn is_stream(self) -> bool {
        matches!(self, Way::Sse | Way::Streams)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Asking,
    /// It reads, or converses.
    Open,
    /// Its poll was answered, and it may ask again.
    Idle,
    /// It was told the end.
    Told,
    Over,
}

/// Whether a channel has to be left since a renewal. What was decided between two laws may be either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    No,
    Perhaps,
    Surely,
}

#[derive(Debug)]
pub struct Visitor {
    pub id: ClientId,
    pub shard: usize,
    pub way: Way,
    pub phase: Phase,
    /// Of its request.
    pub places: Vec<usize>,
    pub shown: Option<Rc<Pass>>,
    since: Since,
    /// What the server has taken.
    pub pass: Option<Rc<Pass>>,
    pub reads: BTreeMap<usize, Leaves>,
    pub asked: Vec<Asked>,
    pub last_id: u64,
    /// Renewals with tokens that were not good.
    pub refused: u8,
    pub seen: HashSet<usize>,
    got: Vec<u8>,
}

impl Visitor {
    /// One that has been accepted and asks nothing yet.
    pub fn new(id: ClientId, shard: usize, way: Way, since: Since) -> Visitor {
        Visitor {
            id,
            shard,
            way,
            phase: Phase::Idle,
            places: Vec::new(),
            shown: None,
            since,
            pass: None,
            reads: BTreeMap::new(),
            asked: Vec::new(),
            last_id: 0,
            refused: 0,
            seen: HashSet::new(),
            got: Vec::new(),
        }
    }

    /// Sends a request for these channels, with a token in one of the three places for it.
    pub fn ask(
        &mut self,
        places: Vec<usize>,
        shown: Option<Rc<Pass>>,
        (whereabouts, last): (usize, usize),
        net: &SimNet,
        since: Since,
    ) {
        let names: Vec<&str> = places.iter().map(|&place| PLACES[place].name).collect();
        let names = names.join(",");
        let path = match self.way {
            Way::WebSocket => format!("/ws/{names}?last={last}"),
            Way::Sse => format!("/sse/{names}?last={last}"),
            Way::Streams => format!("/sse?channels={names}&last={last}"),
            Way::Poll => format!("/poll/{names}?timeout=2&last={last}"),
            Way::Commands if places.is_empty() => "/ws?x=1".to_owned(),
            Way::Commands => format!("/ws?channels={names}&last={last}"),
        };
        let text = shown.as_ref().map(|pass| pass.text());
        let (mut query, mut offers, mut header) = Default::default();
        match text {
            Some(text) if whereabouts == 0 => query = format!("&token={text}"),
            Some(text) if whereabouts == 1 && self.way == Way::Commands => {
                offers = format!(", stentor.token.{text}");
            }
            Some(text) => header = format!("Authorization: Bearer {text}\r\n"),
            None => {}
        }
        if self.way == Way::Commands {
            header += &format!("Sec-WebSocket-Protocol: stentor.v1{offers}\r\n");
        }
        let request = protocol::request(&format!("{path}{query}"));
        let head = request.strip_suffix("\r\n").expect("a head ends so");
        net.write(self.id, format!("{head}{header}\r\n").as_bytes());
        (self.phase, self.places, self.shown, self.since) = (Phase::Asking, places, shown, since);
    }

    /// Goes away, and is not judged any more.
    pub fn leave(&mut self, net: &SimNet) {
        net.leave(self.id);
        (self.phase, self.asked) = (Phase::Over, Vec::new());
    }

    /// Judges what has come.
    pub fn read(&mut self, net: &SimNet, court: &mut Court) {
        self.got.extend(net.take(self.id));
        loop {
            let got = std::mem::take(&mut self.got);
            let taken = match self.phase {
                Phase::Over => return,
                Phase::Asking => self.take_answer(&got, net, court),
                Phase::Open if matches!(self.way, Way::WebSocket | Way::Commands) => {
                    self.take_frame(&got, net, court)
                }
                Phase::Open => self.take_event(&got, court),
                Phase::Idle | Phase::Told => {
                    let is_last_chunk = self.way.is_stream() && b"0\r\n\r\n".starts_with(&got);
                    assert!(got.is_empty() || is_last_chunk, "more than the end: {self:?}");
                    0
                }
            };
            self.got = got[taken..].to_vec();
            if taken == 0 {
                break;
            }
        }
        if net.end(self.id).is_some() && self.phase != Phase::Over {
            // Last words have so long, which a bad network may use up.
            let took = Duration::from_micros(court.now_us - self.since.us);
            let is_cut = !self.got.is_empty() && took >= Duration::from_secs(CLOSING_SECONDS_MAX);
            assert!(self.phase == Phase::Told || is_cut, "an end without a reason: {self:?}");
            self.leave(net);
        }
    }

    fn take_answer(&mut self, got: &[u8], net: &SimNet, court: &mut Court) -> usize {
        let Some(head) = Head::take(got) else { return 0 };
        let is_short =
            !matches!((head.status, self.way), (101 | 304, _) | (200, Way::Sse | Way::Streams));
        let len = if is_short { head.header("Content-Length").parse().unwrap() } else { 0 };
        let Some(body) = got.get(head.len..head.len + len) else { return 0 };
        let answered = verdict(&head.status.to_string());
        let by_command = self.way == Way::Commands;
        let places = if by_command { &[] } else { &self.places[..] };
        let shown = self.shown.as_deref();
        let decisions = court.decisions(self.since, |law, second| {
            (law.admits(places, shown, second), law.takes_tokens())
        });
        let mut fitting = decisions.iter().filter(|(verdict, _)| *verdict == answered);
        let Some(&(_, takes_tokens)) = fitting.next() else {
            panic!("answered {}, not {decisions:?}: {self:?}", head.status);
        };
        if answered != Verdict::Good {
            court.tally.turned_away += 1;
            self.phase = Phase::Told;
            return head.len + len;
        }
        court.tally.admitted += 1;
        if fitting.next().is_some() && self.shown.is_some() {
            // Whether its token was looked at cannot be told.
            self.leave(net);
            return head.len + len;
        }
        self.pass = self.shown.clone().filter(|_| takes_tokens);
        self.on_admitted(std::str::from_utf8(body).expect("bodies are text"), court);
        head.len + len
    }

    fn on_admitted(&mut self, body: &str, court: &mut Court) {
        self.phase = Phase::Open;
        let (since, places) = (self.since, self.places.iter());
        match self.way {
            Way::Commands => {
                let asked = |&place| Asked::new(None, What::Subscribe(place), since, &self.pass);
                self.asked = places.map(asked).collect();
            }
            Way::Poll => {
                self.reads = places.map(|&place| (place, Leaves::No)).collect();
                self.deliver_all(body, court);
                self.phase = Phase::Idle;
            }
            _ => self.reads = places.map(|&place| (place, Leaves::No)).collect(),
        }
    }

    fn take_frame(&mut self, got: &[u8], net: &SimNet, court: &mut Court) -> usize {
        let Some(Frame { opcode, payload, raw }) = Frame::take(got) else { return 0 };
        let text = String::from_utf8_lossy(payload);
        match opcode {
            PING => net.write(self.id, &masked(PONG, payload)),
            CLOSE => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                assert_eq!(code, 4401, "{self:?}");
                court.expire(self.pass.as_deref());
                (self.phase, self.asked) = (Phase::Told, Vec::new());
            }
            _ if self.way == Way::Commands => self.on_reply(&text, court),
            _ => self.deliver_all(&text, court),
        }
        raw.len()
    }

    fn take_event(&mut self, got: &[u8], court: &mut Court) -> usize {
        let Some((content, len)) = take_chunk(got) else { return 0 };
        let text = String::from_utf8_lossy(content);
        let names = match self.way {
            Way::Sse => "event: expired\n",
            _ => ";expired\n",
        };
        if content.is_empty() {
            panic!("an end without a reason: {self:?}");
        } else if text.contains(names) {
            court.expire(self.pass.as_deref());
            self.phase = Phase::Told;
            return len;
        }
        self.deliver_all(&text, court);
        len
    }

    /// Publications have come that it must have a right to.
    pub fn deliver_all(&mut self, text: &str, court: &mut Court) {
        for number in publications_in(text) {
            let place = court.deliver(number, self.pass.as_deref());
            let leaves = self.reads.get(&place);
            let name = PLACES[place].name;
            let reads = leaves.is_some_and(|&leaves| leaves != Leaves::Surely);
            assert!(reads, "{number} of {name} came, which it does not read: {self:?}");
            assert!(self.seen.insert(number) || self.way == Way::Poll, "{number} came twice");
        }
    }
}
