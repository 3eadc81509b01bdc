//! A simulated client: it connects, reads, is cut off in every way there is, and comes back to where
//! it stood.
//!
//! What it hears goes into the book. What it believes of its position is only what it was told.

mod commands;
mod polls;
mod streams;

use stentor::{
    ids::Position,
    io::sim::{ClientId, Dice, SimNet, StreamEnd},
    policy::Slow,
    resume::{Gap, Start},
};

use crate::{
    book::{Book, Opening},
    plan::{ChannelPlan, Plan},
    wire::{self, Head, take_frame},
};

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/ws/{channel}`.
    WebSocket,
    /// `/sse/{channel}`.
    Sse,
    /// `/sse?channels=…`.
    Streams,
    /// `/poll/{channel}`.
    Poll,
    /// `stentor.v1`.
    Commands,
}

/// A client.
pub struct Client {
    /// Its number.
    pub id: usize,
    /// How it reads.
    pub kind: Kind,
    /// What it reads.
    pub reads: Vec<Read>,
    /// Its connection, while it has one.
    pub connection: Option<Connection>,
    /// It does not connect again.
    pub is_resting: bool,
    /// It asks for all that is kept.
    pub wants_all: bool,
    next_id: u64,
}

/// One of a client's channels.
#[derive(Debug)]
pub struct Read {
    /// Which.
    pub channel: usize,
    /// Where it stands, as far as it was told.
    pub place: Option<Position>,
    /// The subscription, while it is live.
    pub stint: Option<usize>,
    /// What it has asked for and was not answered.
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    start: Start,
    goes_on: bool,
    at: u64,
    /// Of a command.
    id: u64,
}

/// A connection as its client sees it.
pub struct Connection {
    /// Which client of that network.
    pub id: ClientId,
    /// The network.
    pub net: SimNet,
    /// It reads nothing now.
    pub stalled: bool,
    /// It answers no pings.
    pub mute: bool,
    /// It once read nothing, or answered nothing.
    pub was_slow: bool,
    is_live: bool,
    /// The last word was said.
    is_told: bool,
    unsent: String,
    got: Vec<u8>,
    /// Publications that were not answered, and ends of subscriptions: by the command's id.
    published: Vec<(u64, usize)>,
    leaving: Vec<(u64, usize)>,
}

/// What a client sees of the world.
pub struct Sight<'a> {
    /// The oracle's book.
    pub book: &'a mut Book,
    /// The world's plan.
    pub plan: &'a Plan,
    /// The world's dice.
    pub dice: &'a mut Dice,
    /// The world's clock.
    pub now_us: u64,
    /// Publications that may be tried again.
    pub retries: &'a mut Vec<usize>,
}

impl Client {
    /// A client that is nowhere yet.
    pub fn new(id: usize, kind: Kind, channels: &[usize]) -> Client {
        let read = |&channel| Read { channel, place: None, stint: None, asked: None };
        let reads = channels.iter().map(read).collect();
        Client {
            id,
            kind,
            reads,
            connection: None,
            is_resting: false,
            wants_all: false,
            next_id: 0,
        }
    }

    /// Connects to a shard and asks for what it missed, or for something else.
    pub fn connect(&mut self, net: &SimNet, sight: &mut Sight<'_>) {
        for read in &mut self.reads {
            let asked = read.ask(sight);
            let all = Start::Last(u32::MAX);
            let start = if self.wants_all { all } else { asked.start };
            read.asked = Some(Asked { start, ..asked });
        }
        let request = self.request(sight);
        let connection = Connection {
            id: net.connect(),
            net: net.clone(),
            stalled: false,
            mute: false,
            was_slow: false,
            is_live: false,
            is_told: false,
            unsent: request,
            got: Vec::new(),
            published: Vec::new(),
            leaving: Vec::new(),
        };
        self.connection = Some(connection);
        let part = if sight.dice.one_in(5) { sight.dice.below(200) } else { usize::MAX };
        self.send_more(part);
    }

    fn request(&mut self, sight: &mut Sight<'_>) -> String {
        let channels = &sight.plan.channels;
        match self.kind {
            Kind::WebSocket => {
                let query = start_query(self.reads[0].start());
                wire::upgrade(&format!("/ws/{}{query}", self.reads[0].name(channels)), "")
            }
            Kind::Sse => {
                let (name, start) = (self.reads[0].name(channels), self.reads[0].start());
                match start {
                    Start::Since(since) if sight.dice.one_in(2) => {
                        let header = format!("Last-Event-ID: {since}\r\n");
                        wire::request(&format!("/sse/{name}"), &header)
                    }
                    start => wire::request(&format!("/sse/{name}{}", start_query(start)), ""),
                }
            }
            Kind::Streams => self.streams_request(sight),
            Kind::Poll => self.poll_request(sight),
            Kind::Commands => self.commands_request(sight),
        }
    }

    /// Sends so much more of the request.
    pub fn send_more(&mut self, bytes: usize) {
        let Some(connection) = &mut self.connection else { return };
        let count = bytes.min(connection.unsent.len());
        let part: String = connection.unsent.drain(..count).collect();
        connection.net.write(connection.id, part.as_bytes());
    }

    /// Reads what is there, and takes note.
    pub fn read(&mut self, sight: &mut Sight<'_>) {
        let Some(connection) = &mut self.connection else { return };
        let taken = connection.net.take(connection.id);
        connection.got.extend(taken);
        let mut got = std::mem::take(&mut connection.got);
        let mut at = 0;
        while at < got.len() {
            let taken = self.decode(&got[at..], sight);
            at += taken;
            if taken == 0 || self.connection.is_none() {
                break;
            }
        }
        let Some(connection) = &mut self.connection else { return };
        got.drain(..at);
        connection.got = got;
        match connection.net.end(connection.id) {
            Some(StreamEnd::Finished) => {
                let is_excused = connection.was_slow || sight.plan.jumpy;
                let (id, kind, rest) = (self.id, self.kind, &connection.got);
                let is_whole = rest.is_empty() || is_excused;
                assert!(is_whole, "client {id}, {kind:?}, ends inside a frame: {rest:?}");
                self.disconnect(sight);
            }
            Some(StreamEnd::Reset) => self.disconnect(sight),
            None => (),
        }
    }

    /// Where a poll that waits stands.
    pub fn polls_from(&self) -> Option<Position> {
        let connection = self.connection.as_ref().filter(|_| self.kind == Kind::Poll)?;
        // Whoever is in the backlog of a full table waits for that.
        connection.net.slot(connection.id)?;
        let asked = self.reads[0].asked.filter(|_| connection.unsent.is_empty())?;
        match asked.start {
            Start::Since(since) => Some(since),
            _ => None,
        }
    }

    /// Goes away, if it has not, and forgets the connection.
    pub fn disconnect(&mut self, sight: &mut Sight<'_>) {
        let Some(connection) = self.connection.take() else { return };
        connection.net.resume(connection.id);
        connection.net.leave(connection.id);
        for (_, intent) in connection.published {
            if sight.book.intents[intent].idempotency.is_some() {
                sight.retries.push(intent);
            }
        }
        for read in &mut self.reads {
            read.asked = None;
            if let Some(stint) = read.stint.take() {
                sight.book.close(stint);
            }
        }
    }

    fn decode(&mut self, got: &[u8], sight: &mut Sight<'_>) -> usize {
        let Some(connection) = &self.connection else { return 0 };
        assert!(!connection.is_told, "{got:?} behind the last word to {:?}", self.kind);
        if !connection.is_live {
            return self.decode_answer(got, sight);
        }
        match self.kind {
            Kind::WebSocket | Kind::Commands => self.decode_frame(got, sight),
            Kind::Sse | Kind::Streams => self.decode_event(got, sight),
            Kind::Poll => unreachable!("a poll is never live"),
        }
    }

    fn decode_answer(&mut self, got: &[u8], sight: &mut Sight<'_>) -> usize {
        let Some(head) = Head::take(got) else { return 0 };
        let rest = &got[head.len..];
        let more = match (head.status, self.kind) {
            (101, Kind::WebSocket) => {
                head.check_accept();
                self.begin(0, &begun_of(&head), sight);
                0
            }
            (101, Kind::Commands) => {
                head.check_accept();
                assert_eq!(head.get("Sec-WebSocket-Protocol"), "stentor.v1");
                0
            }
            (200, Kind::Sse) => return self.decode_stream(&head, rest, sight),
            (200, Kind::Streams) => return self.decode_streams(&head, rest, sight),
            (200 | 304, Kind::Poll) => return self.decode_poll(&head, rest, sight),
            (status, _) => {
                let text = String::from_utf8_lossy(got);
                assert!(matches!(status, 408 | 503), "{:?} was answered {text}", self.kind);
                let len: usize = head.get("Content-Length").parse().expect("a length");
                if rest.len() < len {
                    return 0;
                }
                self.connection.as_mut().expect("it is read").is_told = true;
                return head.len + len;
            }
        };
        self.connection.as_mut().expect("it is read").is_live = true;
        head.len + more
    }

    /// The subscription to one of its channels begins.
    fn begin(&mut self, read: usize, begun: &Begun, sight: &mut Sight<'_>) {
        let (client, how) = (self.id, self.how());
        let read = &mut self.reads[read];
        let Asked { start, goes_on, at, .. } = read.asked.take().expect("it was asked for");
        if let Start::Since(_) = start {
            let gap = begun.gap.is_some();
            assert_eq!(begun.recovered, Some(!gap), "{how} says both: {begun:?}");
        }
        let opening = Opening {
            client,
            channel: read.channel,
            how,
            start,
            goes_on,
            asked: at,
            begin: Some(begun.position),
            gap: begun.gap,
        };
        read.stint = Some(sight.book.open(opening, sight.now_us));
        read.place = Some(begun.position);
    }

    fn how(&self) -> &'static str {
        match self.kind {
            Kind::WebSocket => "ws",
            Kind::Sse => "sse",
            Kind::Streams => "streams",
            Kind::Poll => "poll",
            Kind::Commands => "v1",
        }
    }

    /// A publication of one of its channels.
    fn hear(
        &mut self,
        read: usize,
        payload: &[u8],
        position: Option<Position>,
        sight: &mut Sight<'_>,
    ) {
        let kind = self.kind;
        let read = &mut self.reads[read];
        let stint =
            read.stint.unwrap_or_else(|| panic!("{kind:?} got {payload:?} before it began"));
        if sight.plan.channels[read.channel].counts.is_some() {
            sight.book.hear_count(stint, payload, position);
            read.place = position.or(read.place);
            return;
        }
        read.place = sight.book.hear(stint, payload, position).or(read.place);
    }

    fn gap(&mut self, read: usize, gap: Gap, sight: &mut Sight<'_>) {
        let read = &mut self.reads[read];
        sight.book.tell_gap(read.stint.expect("a gap in what it reads"), gap);
        read.place = Some(gap.to);
    }

    fn decode_frame(&mut self, got: &[u8], sight: &mut Sight<'_>) -> usize {
        let Some((opcode, payload, len)) = take_frame(got) else { return 0 };
        let connection = self.connection.as_mut().expect("it is read");
        match opcode {
            1 | 2 if self.kind == Kind::WebSocket => self.hear(0, payload, None, sight),
            wire::TEXT => self.hear_object(payload, sight),
            wire::PING => {
                if !connection.mute {
                    connection.net.write(connection.id, &wire::masked(wire::PONG, payload));
                }
            }
            wire::PONG => (),
            wire::CLOSE => {
                connection.is_told = true;
                let text = std::str::from_utf8(&payload[2..]).expect("a reason is text");
                if let Some(position) = text.strip_prefix("too slow; resume from ") {
                    let position: Position = position.parse().expect("a position");
                    self.on_too_slow(position, sight);
                }
            }
            other => panic!("a frame with opcode {other}"),
        }
        len
    }

    /// Where the policy says so a slow reader is told from where to go on: everything up to there
    /// was delivered.
    fn on_too_slow(&mut self, position: Position, sight: &mut Sight<'_>) {
        let closes = |read: &&mut Read| {
            sight.plan.channels[read.channel].policy.slow == Slow::Close && read.stint.is_some()
        };
        let mut closing: Vec<&mut Read> = self.reads.iter_mut().filter(closes).collect();
        assert!(!closing.is_empty(), "nobody closes who is too slow here");
        if let [read] = &mut closing[..] {
            sight.book.tell_position(read.stint.expect("it is live"), position);
            read.place = Some(position);
        }
    }
}

/// What a subscriber is told at its beginning.
#[derive(Debug)]
struct Begun {
    position: Position,
    recovered: Option<bool>,
    gap: Option<Gap>,
}

fn begun_of(head: &Head) -> Begun {
    let gap = head.find("Stentor-Gap").map(|gap| {
        let (from, to) = gap.split_once("..").expect("a gap is from..to");
        Gap { from: from.parse().expect("a position"), to: to.parse().expect("a position") }
    });
    let position = head.get("Stentor-Position").parse().expect("a position");
    let recovered = head.find("Stentor-Recovered").map(|it| it == "true");
    Begun { position, recovered, gap }
}

fn start_query(start: Start) -> String {
    match start {
        Start::Live => String::new(),
        Start::Last(last) => format!("?last={last}"),
        Start::Since(since) => format!("?since={since}"),
    }
}

impl Read {
    /// Decides where to begin: mostly where it stands.
    fn ask(&self, sight: &mut Sight<'_>) -> Asked {
        let dice = &mut *sight.dice;
        let some = sight.book.some_position(self.channel, dice.below(1000));
        let (start, goes_on) = match (dice.below(10), self.place, some) {
            (0, ..) => (Start::Live, false),
            (1, ..) => (Start::Last(dice.below(12) as u32), false),
            (2, _, Some(some)) => (Start::Since(some), false),
            (_, Some(place), _) => (Start::Since(place), true),
            (3..6, None, _) => (Start::Last(dice.of(&[1, 3, 1000])), false),
            (_, None, _) => (Start::Live, false),
        };
        Asked { start, goes_on, at: sight.book.now(), id: 0 }
    }

    fn start(&self) -> Start {
        self.asked.expect("it asks").start
    }

    fn name<'a>(&self, channels: &'a [ChannelPlan]) -> &'a str {
        channels[self.channel].name.as_str()
    }
}
