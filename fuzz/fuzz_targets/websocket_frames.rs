//! Client frames: no panic, and the same events and the same fault wherever the reads cut them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::wire::websocket::{Decoder, Event, Fault, Limits};

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (messages, read_len, bytes) = input;
    let limits = Limits { messages, frame_max: 300, message_max: 500 };
    let whole = decode(bytes, bytes.len().max(1), &limits);
    assert_eq!(decode(bytes, usize::from(read_len).max(1), &limits), whole);
    assert_eq!(decode(bytes, 1, &limits), whole);
});

fn decode(bytes: &[u8], read_len: usize, limits: &Limits) -> (Vec<Event>, Option<Fault>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for mut read in bytes.chunks(read_len) {
        loop {
            match decoder.next(&mut read, limits) {
                Ok(Some(Event::Message(kind, payload))) => {
                    assert!(payload.len() <= limits.message_max && limits.messages);
                    events.push(Event::Message(kind, payload));
                }
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(fault) => return (events, Some(fault)),
            }
        }
        assert!(read.is_empty(), "all input is taken");
    }
    (events, None)
}
