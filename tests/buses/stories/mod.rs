//! What holds whatever the bus is.

pub mod every;
pub mod live;
pub mod log;
mod torrent;

use crate::{
    bus::{Bus, CHANNELS, Record},
    support::{Dice, Kind, Received, Server, Subscriber},
};

/// Publications of several channels, as the stories make them: each payload begins with its number
/// in its channel.
struct Script {
    dice: Dice,
    /// By channel, what was made so far.
    made: Vec<Vec<Vec<u8>>>,
}

impl Script {
    /// One that makes the same for the same seed.
    fn new(seed: u64) -> Script {
        Script { dice: Dice::new(seed), made: vec![Vec::new(); CHANNELS] }
    }

    /// So many more on any channels. `tail` gives what follows the number.
    fn on_any<B: Bus>(&mut self, count: usize, tail: fn(&mut Dice) -> Vec<u8>) -> Vec<Record> {
        (0..count)
            .map(|_| {
                let on = self.dice.below(CHANNELS);
                self.on::<B>(on, tail)
            })
            .collect()
    }

    /// One more on this channel.
    fn on<B: Bus>(&mut self, channel: usize, tail: fn(&mut Dice) -> Vec<u8>) -> Record {
        let number = self.made[channel].len();
        let mut payload = format!("{number} ").into_bytes();
        payload.extend(tail(&mut self.dice));
        self.made[channel].push(payload.clone());
        Record { channel: B::channel(channel), payload }
    }

    /// The same as text.
    fn texts(&self, channel: usize) -> Vec<String> {
        let texts = self.made[channel].iter().map(|payload| String::from_utf8(payload.clone()));
        texts.map(|text| text.expect("text")).collect()
    }
}

/// A tail of text, longer or shorter.
fn text(dice: &mut Dice) -> Vec<u8> {
    vec![b'x'; dice.below(200)]
}

/// A tail of any bytes, of which one is never UTF-8; so that each transport keeps all of them.
fn binary(dice: &mut Dice) -> Vec<u8> {
    let length = dice.below(300);
    let mut bytes: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
    bytes.push(0xff);
    bytes
}

/// A subscriber of each channel, by this transport.
#[track_caller]
fn join_all<B: Bus>(edge: &Server, kind: Kind) -> Vec<Subscriber> {
    let join = |number| Subscriber::join(edge.subscribers, kind, &B::channel(number));
    (0..CHANNELS).map(join).collect()
}

/// Holds a subscriber to exactly these publications next.
#[track_caller]
fn expect_exactly(subscriber: &mut Subscriber, expected: &[Vec<u8>]) {
    for (at, expected) in expected.iter().enumerate() {
        match subscriber.next() {
            Received::Publication { payload, .. } => assert!(
                payload == *expected,
                "number {at} should be {:?} and is {:?}",
                String::from_utf8_lossy(expected),
                String::from_utf8_lossy(&payload)
            ),
            other => panic!("number {at} should be a publication and is {other:?}"),
        }
    }
}
