//! What every subscriber must get.

use super::*;

/// What a subscriber got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The publication with this number.
    Number(u64),
    Gap(Gap),
}

/// A subscription as the oracle knows it.
pub struct Sub {
    pub channel: usize,
    pub start: Start,
    pub begun: Option<Begun>,
    pub items: Vec<Item>,
}

/// One connection as the oracle knows it.
#[derive(Default)]
pub struct Peer {
    pub format: Option<Format>,
    pub subs: Vec<Sub>,
    /// What it was sent and is not yet parsed.
    pub received: Vec<u8>,
    pub blocked: bool,
    /// For counting.
    pub frames: usize,
    pub bytes: usize,
}

impl Peer {
    pub fn sub(&mut self, channel: &str) -> &mut Sub {
        let sub = self.subs.iter_mut().find(|sub| CHANNELS[sub.channel] == channel);
        sub.expect("it subscribed to that")
    }

    /// Takes bytes, and out of them every frame that is whole.
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.received.extend_from_slice(bytes);
        let format = self.format.expect("it reads something");
        while let Some(len) = whole_frame(format, &self.received) {
            let frame: Vec<u8> = self.received.drain(..len).collect();
            let (channel, item) = contents(format, &frame);
            let sub = match channel {
                Some(channel) => self.sub(&channel),
                None => &mut self.subs[0],
            };
            assert!(sub.begun.is_some(), "it has yet to be told where it begins");
            sub.items.push(item);
            self.frames += 1;
        }
    }

    /// A frame that was cut is made whole.
    pub fn take_rest(&mut self, rest: Rest) {
        match rest {
            Rest::None => (),
            Rest::Kept(rest) => self.take(&rest),
            Rest::TooMuch => panic!("there was room"),
        }
    }

    pub fn check(&self, book: &[Vec<(u64, Offset)>], has_all: bool) -> usize {
        assert!(!has_all || self.received.is_empty(), "the last frame is whole");
        self.subs.iter().map(|sub| sub.check(book, has_all)).sum()
    }
}

impl Sub {
    /// The last position that it was sent.
    pub fn position(&self, book: &[Vec<(u64, Offset)>]) -> Option<Position> {
        let offset = match self.items.last() {
            None => self.begun?.position.offset,
            Some(Item::Gap(gap)) => gap.to.offset,
            Some(Item::Number(number)) => {
                book[self.channel].iter().find(|(known, _)| known == number).unwrap().1
            }
        };
        Some(Position { epoch: epoch_of(self.channel), offset })
    }

    /// What a subscriber that leaves is told to resume from. In a channel of latest values it may be
    /// behind what it was spared.
    pub fn check_position(&self, told: Option<Position>, book: &[Vec<(u64, Offset)>]) {
        let expected = self.position(book);
        match self.channel == LATEST {
            true => assert!(told.map(|told| told.offset) >= expected.map(|at| at.offset)),
            false => assert_eq!(told, expected, "the position to resume from"),
        }
    }

    /// It was told where it begins, and got everything behind that, in order and once, but for the
    /// gaps that it was told of; if it `has_all`, to the last. Returns how many it got.
    pub fn check(&self, book: &[Vec<(u64, Offset)>], has_all: bool) -> usize {
        let Some(Begun { position, gap }) = self.begun else {
            assert!(self.items.is_empty() && !has_all, "it has yet to begin");
            return 0;
        };
        self.check_beginning(position, gap);
        if self.channel == LATEST {
            return self.check_latest(&book[LATEST], position, has_all);
        }
        let mut rest = &book[self.channel][..];
        let mut at = position.offset;
        let mut count = 0;
        let skip_to = |rest: &mut &[(u64, Offset)], at| {
            *rest = &rest[rest.partition_point(|(_, offset)| *offset <= at)..];
        };
        skip_to(&mut rest, at);
        for item in &self.items {
            match *item {
                Item::Number(number) => {
                    let ((expected, offset), others) = rest.split_first().expect("published");
                    assert_eq!(number, *expected, "behind {at:?}");
                    (rest, at, count) = (others, *offset, count + 1);
                }
                Item::Gap(Gap { from, to }) => {
                    let epoch = epoch_of(self.channel);
                    // One that is ahead may have got some of what the edge has not.
                    let is_here = from.offset == at || self.channel == FED && from.offset < at;
                    assert!(from.epoch == epoch && is_here, "{from} is not behind {at:?}");
                    assert!(to.offset > at, "and is one");
                    at = to.offset;
                    skip_to(&mut rest, at);
                }
            }
        }
        assert!(!has_all || rest.is_empty(), "missing behind {at:?}: {rest:?}");
        count
    }

    /// Who asked for what was since gets that, or is told exactly what not.
    pub fn check_beginning(&self, position: Position, gap: Option<Gap>) {
        let epoch = epoch_of(self.channel);
        assert_eq!(position.epoch, epoch);
        match (self.start, gap) {
            (Start::Since(since), Some(gap)) => {
                assert_eq!((gap.from, gap.to), (since, position));
                let is_ahead = since.epoch == SEQUENCE && since.offset > position.offset;
                assert!(!is_ahead, "who is ahead of an edge waits for it");
                assert!(since.epoch != epoch || since.offset != position.offset);
            }
            (Start::Since(since), None) if self.channel != LATEST => assert_eq!(since, position),
            (_, None) => (),
            (start, Some(gap)) => panic!("{gap:?} for {start:?}"),
        }
    }

    /// In a channel of latest values: never back, and in the end the newest of every key, unless it
    /// had that before it began.
    pub fn check_latest(&self, book: &[(u64, Offset)], begun: Position, has_all: bool) -> usize {
        let numbers = self.items.iter().map(|item| match item {
            Item::Number(number) => *number,
            Item::Gap(gap) => panic!("{gap:?}"),
        });
        let numbers: Vec<u64> = numbers.collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "in order, and once: {numbers:?}");
        for key in (0..3).filter(|_| has_all) {
            let newest = book.iter().rev().find(|(number, _)| number % 3 == key);
            let got = numbers.iter().rev().find(|&&number| number % 3 == key);
            if let Some((newest, offset)) = newest.filter(|(_, offset)| *offset > begun.offset) {
                assert_eq!(got, Some(newest), "the newest of key {key}, of offset {offset:?}");
            }
        }
        numbers.len()
    }
}

/// The length of the first frame, if it is whole. Ours here are below 64 KiB.
fn whole_frame(format: Format, bytes: &[u8]) -> Option<usize> {
    let is_known = match format {
        Format::Sse => bytes.windows(2).any(|two| two == b"\r\n"),
        _ => bytes.len() >= 2 && (bytes[1] < 126 || bytes.len() >= 4),
    };
    let len = is_known.then(|| wire::frame_len(format, bytes))?;
    (len <= bytes.len()).then_some(len)
}

/// The channel, where the frame names it, and what one frame tells.
fn contents(format: Format, frame: &[u8]) -> (Option<String>, Item) {
    match format {
        Format::WebSocket => {
            let payload = std::str::from_utf8(wire::websocket::payload(frame)).unwrap();
            (None, Item::Number(payload.parse().unwrap()))
        }
        Format::Sse => {
            let text = std::str::from_utf8(frame).unwrap();
            let line = |start| text.lines().find_map(|line| line.strip_prefix(start)).unwrap();
            let (data, id) = (line("data: "), line("id: "));
            let is_gap = text.contains("event: gap\n");
            (None, if is_gap { told_gap(data, id) } else { Item::Number(data.parse().unwrap()) })
        }
        Format::Json => {
            let object: serde_json::Value =
                serde_json::from_slice(wire::json::object(frame)).unwrap();
            let text = |name: &str| object[name].as_str().unwrap().to_owned();
            let item = match object["type"].as_str() {
                Some(kind) => {
                    assert_eq!(kind, "gap");
                    gap(&text("from"), &text("to"))
                }
                None => Item::Number(text("data").parse().unwrap()),
            };
            (Some(text("channel")), item)
        }
    }
}

/// A gap as an event tells it: its id is where it ends.
fn told_gap(data: &str, id: &str) -> Item {
    let object: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (object["channel"].as_str(), object["to"].as_str()),
        (Some(CHANNELS[FED]), Some(id))
    );
    gap(object["from"].as_str().unwrap(), id)
}

fn gap(from: &str, to: &str) -> Item {
    Item::Gap(Gap { from: from.parse().unwrap(), to: to.parse().unwrap() })
}
