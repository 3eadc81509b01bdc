//! A simulated client: its bytes, its own decoder, and what it may be told.
//!
//! Everything that comes is judged when it is read. A publication must be the next of the book,
//! byte by byte; an end must be one that this client or its world has given a reason for.

use std::{collections::VecDeque, time::Duration};

use super::{
    book::Book,
    protocol::{self, Frame, Head, expected_event, expected_frame, take_chunk},
};
use crate::{
    close::CloseReason,
    frame::Format,
    io::sim::{ClientId, SimNet, StreamEnd},
    limits::CLOSING_SECONDS_MAX,
    session::Rules,
};

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Reader(Format),
    /// Something that is not served, and the status that says so.
    Lost(u16),
}

/// How far the conversation has come, as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Asking,
    Live,
    /// The last word was said; nothing but the end may follow.
    Told,
    Over,
}

/// What the client has done to end the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    None,
    /// Sent a close frame with this code.
    Closed(Option<u16>),
    /// Broke the protocol; the answer must have this code.
    Garbage(u16),
    /// Finished sending, and reads on.
    Finished,
    /// Went away.
    Gone,
}

/// What a world allows to happen to all its clients.
#[derive(Clone, Debug)]
pub struct Circumstances {
    pub now_us: u64,
    pub rules: Rules,
    pub draining: bool,
    /// Time jumps, so that whoever owed an answer may be found late.
    pub jumpy: bool,
    /// There is a bound on what is kept for slow readers.
    pub laps: bool,
    /// And publications of which the rest, once cut, is too much to keep.
    pub huge: bool,
    /// There may be fewer places than clients, or fewer channels than are asked for.
    pub tight: bool,
    pub resets: bool,
}

#[derive(Debug)]
pub struct Client {
    pub id: ClientId,
    pub shard: usize,
    pub kind: Kind,
    pub channel: usize,
    pub phase: Phase,
    pub deed: Deed,
    /// An operator closes it, for this reason.
    pub expelled: Option<CloseReason>,
    /// It stays when the server has said goodbye.
    pub lingers: bool,
    /// It answers no pings.
    pub mute: bool,
    pub stalled: bool,
    /// It has closed its side.
    pub left: bool,
    /// Why the server said that it ended, if it did.
    pub reason: Option<CloseReason>,
    /// The status or close code that it was told at the end; 1005 for a close without one.
    pub said: Option<u16>,
    pub said_us: u64,
    /// What was received, all of it.
    pub frames: usize,
    pub pings: usize,
    pub heartbeats: usize,
    pub end: Option<StreamEnd>,
    pub end_us: u64,
    unsent: String,
    got: Vec<u8>,
    next: Option<usize>,
    live_from: usize,
    pongs: VecDeque<Vec<u8>>,
    accepted_us: Option<u64>,
    asked_us: Option<u64>,
    /// When it last took and answered what was there, and the longest time that it did not.
    well_us: u64,
    longest_stall: Duration,
}

/// Time between what a client sees and what the server had to go by: a tick, and late events.
const SLACK: Duration = Duration::from_millis(300);

impl Client {
    pub fn new(id: ClientId, shard: usize, kind: Kind, channel: usize, request: String) -> Client {
        Client {
            id,
            shard,
            kind,
            channel,
            phase: Phase::Asking,
            deed: Deed::None,
            expelled: None,
            lingers: false,
            mute: false,
            stalled: false,
            left: false,
            reason: None,
            said: None,
            said_us: 0,
            frames: 0,
            pings: 0,
            heartbeats: 0,
            end: None,
            end_us: 0,
            unsent: request,
            got: Vec::new(),
            next: None,
            live_from: 0,
            pongs: VecDeque::new(),
            accepted_us: None,
            asked_us: None,
            well_us: 0,
            longest_stall: Duration::ZERO,
        }
    }

    /// Whether it still speaks.
    pub fn speaks(&self) -> bool {
        self.deed == Deed::None && self.phase != Phase::Over && !self.left
    }

    pub fn is_websocket(&self) -> bool {
        self.kind == Kind::Reader(Format::WebSocket)
    }

    /// Sends so much more of the request.
    pub fn ask(&mut self, net: &SimNet, bytes: usize) {
        let part: String = self.unsent.drain(..bytes.min(self.unsent.len())).collect();
        net.write(self.id, part.as_bytes());
    }

    /// How much of the request is still to be sent.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Sends a ping, whose pong must come back.
    pub fn ping(&mut self, net: &SimNet, payload: Vec<u8>) {
        net.write(self.id, &protocol::masked(protocol::PING, &payload));
        self.pongs.push_back(payload);
    }

    pub fn close(&mut self, net: &SimNet, code: Option<u16>) {
        let payload = code.map_or(vec![], |code| code.to_be_bytes().to_vec());
        net.write(self.id, &protocol::masked(protocol::CLOSE, &payload));
        self.deed = Deed::Closed(code);
    }

    pub fn garbage(&mut self, net: &SimNet, bytes: &[u8], code: u16) {
        net.write(self.id, bytes);
        self.deed = Deed::Garbage(code);
    }

    pub fn finish(&mut self, net: &SimNet) {
        net.finish(self.id);
        self.left = true;
        if self.deed == Deed::None {
            self.deed = Deed::Finished;
        }
    }

    /// Goes away, in order or not, and looks at nothing any more.
    pub fn go(&mut self, net: &SimNet, reset: bool) {
        if reset {
            net.reset(self.id)
        } else {
            net.leave(self.id)
        }
        net.resume(self.id);
        (self.left, self.deed, self.phase) = (true, Deed::Gone, Phase::Over);
    }

    pub fn stall(&mut self, net: &SimNet, stalled: bool) {
        if stalled {
            net.stall(self.id)
        } else {
            net.resume(self.id)
        }
        self.stalled = stalled;
    }

    /// Reads what is there, answers, and judges it.
    pub fn read(&mut self, net: &SimNet, book: &mut Book, world: &Circumstances) {
        if self.phase == Phase::Over {
            return;
        }
        if net.slot(self.id).is_some() {
            self.accepted_us.get_or_insert(world.now_us);
        }
        if self.unsent.is_empty() {
            self.asked_us.get_or_insert(world.now_us);
        }
        let silence = Duration::from_micros(world.now_us - self.well_us);
        if self.stalled || self.mute {
            self.longest_stall = self.longest_stall.max(silence);
        } else {
            self.well_us = world.now_us;
        }
        self.got.extend(net.take(self.id));
        self.decode(net, book, world);
        if let Some(end) = net.end(self.id) {
            self.on_end(end, net, world);
        }
    }

    /// Whether it has everything that it must have at rest.
    pub fn check_complete(&self, book: &Book) {
        if self.phase != Phase::Live {
            return;
        }
        let next = self.next.unwrap_or(self.live_from);
        assert_eq!(next, book.len(self.channel), "publications are missing at {self:?}");
        assert!(self.pongs.is_empty(), "pongs are missing at {self:?}");
        assert!(self.got.is_empty(), "half a frame is left at {self:?}");
    }

    fn decode(&mut self, net: &SimNet, book: &mut Book, world: &Circumstances) {
        let got = std::mem::take(&mut self.got);
        let mut at = 0;
        while at < got.len() {
            let rest = &got[at..];
            let taken = match (self.phase, self.kind) {
                (Phase::Asking, _) => self.decode_answer(rest, book, world),
                (Phase::Live, Kind::Reader(Format::Sse)) => self.decode_event(rest, book, world),
                (Phase::Live, _) => self.decode_frame(rest, net, book, world),
                (Phase::Told | Phase::Over, _) => panic!("{rest:?} behind the last word: {self:?}"),
            };
            if taken == 0 {
                break;
            }
            at += taken;
        }
        self.got = got[at..].to_vec();
    }

    fn decode_answer(&mut self, got: &[u8], book: &Book, world: &Circumstances) -> usize {
        let Some(head) = Head::take(got) else { return 0 };
        let rest = &got[head.len..];
        let more = match (head.status, self.kind) {
            (101, Kind::Reader(Format::WebSocket)) => {
                head.check_accept();
                head.header("Stentor-Position");
                0
            }
            (200, Kind::Reader(Format::Sse)) => {
                assert_eq!(head.header("Transfer-Encoding"), "chunked");
                let Some((content, len)) = take_chunk(rest) else { return 0 };
                let position = head.header("Stentor-Position");
                let content = std::str::from_utf8(content).unwrap();
                let (hint, rest) = content.split_once('\n').unwrap();
                let hint: u32 = hint.strip_prefix("retry: ").unwrap().parse().unwrap();
                assert!((3000..6000).contains(&hint), "{hint}");
                assert_eq!(rest, format!("id: {position}\n\n"));
                len
            }
            _ => {
                let len: usize = head.header("Content-Length").parse().unwrap();
                let Some(body) = rest.get(..len) else { return 0 };
                self.judge_answer(head.status, std::str::from_utf8(body).unwrap(), world);
                self.tell(head.status, world);
                return head.len + len;
            }
        };
        assert!(self.asked_us.is_some(), "answered before it was asked: {self:?}");
        (self.phase, self.live_from) = (Phase::Live, book.len(self.channel));
        head.len + more
    }

    fn decode_frame(
        &mut self,
        got: &[u8],
        net: &SimNet,
        book: &mut Book,
        world: &Circumstances,
    ) -> usize {
        let Some(Frame { opcode, payload, raw }) = Frame::take(got) else { return 0 };
        match opcode {
            1 | 2 => {
                let page = self.page(book, |expected| expected == payload);
                let expected = expected_frame(book.payload(self.channel, page));
                assert!(raw == expected, "not page {page}: {payload:?} at {self:?}");
            }
            protocol::PING => {
                self.pings += 1;
                if !self.mute && self.speaks() {
                    net.write(self.id, &protocol::masked(protocol::PONG, payload));
                }
            }
            protocol::PONG => {
                let expected = self.pongs.pop_front();
                assert_eq!(expected.as_deref(), Some(payload), "at {self:?}");
            }
            protocol::CLOSE => {
                let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                let text = std::str::from_utf8(payload.get(2..).unwrap_or_default()).unwrap();
                self.judge_close(code, text, book, world);
                self.tell(code.unwrap_or(1005), world);
            }
            other => panic!("a frame with opcode {other}: {self:?}"),
        }
        raw.len()
    }

    fn decode_event(&mut self, got: &[u8], book: &mut Book, world: &Circumstances) -> usize {
        let Some((content, len)) = take_chunk(got) else { return 0 };
        if content.is_empty() {
            let allowed = world.draining || world.laps || self.expelled.is_some();
            assert!(allowed, "the stream ended without a reason: {self:?}");
            self.tell(200, world);
        } else if content == b":\n\n" {
            self.heartbeats += 1;
        } else {
            let text = std::str::from_utf8(content).expect("events are text");
            let id = text.strip_prefix("id: ").and_then(|rest| rest.split('\n').next());
            let position = id.expect("events begin with their id").parse().expect("a position");
            let page = self.page(book, |it| expected_event(position, it) == content);
            let expected = expected_event(position, book.payload(self.channel, page));
            assert!(content == expected, "not page {page}: {text:?} at {self:?}");
            book.check_position(self.channel, page, position);
        }
        len
    }

    /// The page that must come next. The first may be any up to the one that must come at the
    /// latest; from then on there is no choice.
    fn page(&mut self, book: &Book, is_it: impl Fn(&[u8]) -> bool) -> usize {
        let page = match self.next {
            Some(next) => next,
            None => book.find(self.channel, self.live_from, is_it),
        };
        assert!(page < book.len(self.channel), "it was not published: {self:?}");
        self.frames += 1;
        self.next = Some(page + 1);
        page
    }

    fn judge_answer(&mut self, status: u16, body: &str, world: &Circumstances) {
        let asked_us = self.asked_us.unwrap_or(world.now_us);
        let took = asked_us.saturating_sub(self.accepted_us.expect("who is answered is in"));
        let late = Duration::from_micros(took) + SLACK >= world.rules.handshake_timeout;
        let (reason, allowed) = match status {
            503 if body.contains("full") => {
                (CloseReason::Overloaded, world.tight || world.draining || world.jumpy)
            }
            503 => (CloseReason::ServerDraining, world.draining),
            408 => (CloseReason::HandshakeTimeout, late || world.jumpy),
            _ => (CloseReason::BadRequest, self.kind == Kind::Lost(status)),
        };
        assert!(allowed, "{status} {body} without a reason: {self:?}");
        self.reason = Some(reason);
    }

    fn judge_close(
        &mut self,
        code: Option<u16>,
        text: &str,
        book: &mut Book,
        world: &Circumstances,
    ) {
        let silent = self.longest_stall + SLACK >= world.rules.pong_timeout;
        let resume = text.strip_prefix("too slow; resume from ");
        if let Some((position, next)) = resume.zip(self.next) {
            // What it has got last, whole: so it can go on from there.
            book.check_position(self.channel, next - 1, position.parse().expect("a position"));
        }
        let by_label = CloseReason::ALL.into_iter().find(|reason| reason.label() == text);
        let reason = by_label.or(resume.map(|_| CloseReason::PeerTooSlow));
        let allowed = match (reason, code) {
            (Some(CloseReason::ServerDraining), Some(1012)) => world.draining,
            (Some(CloseReason::PeerSilent), Some(1001)) => silent || world.jumpy,
            (Some(CloseReason::PeerTooSlow), Some(1013)) => world.laps,
            (Some(reason), _) if self.expelled == Some(reason) => true,
            (None, Some(code)) if !text.is_empty() => self.deed == Deed::Garbage(code),
            (None, code) => text.is_empty() && self.deed == Deed::Closed(code),
            _ => false,
        };
        assert!(allowed, "closed with {code:?} {text:?} without a reason: {self:?}");
        self.reason = reason;
    }

    fn tell(&mut self, said: u16, world: &Circumstances) {
        (self.phase, self.said, self.said_us) = (Phase::Told, Some(said), world.now_us);
    }

    fn on_end(&mut self, end: StreamEnd, net: &SimNet, world: &Circumstances) {
        if self.phase == Phase::Told {
            assert!(self.got.is_empty());
        } else {
            let goodbye = Duration::from_secs(CLOSING_SECONDS_MAX);
            let stalled = self.longest_stall + SLACK >= world.rules.stall_timeout
                || world.draining && self.longest_stall + SLACK >= goodbye;
            let reset = end == StreamEnd::Reset && world.resets;
            let own = self.left || self.deed == Deed::Finished || self.expelled.is_some();
            let allowed = own || reset || stalled || world.jumpy || world.huge;
            assert!(allowed, "cut off with {end:?} without a reason: {self:?}");
        }
        (self.phase, self.end, self.end_us) = (Phase::Over, Some(end), world.now_us);
        if !self.lingers {
            net.leave(self.id);
            self.left = true;
        }
    }
}
