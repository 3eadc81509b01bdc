use proptest::{collection::vec, prelude::*};
use tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use super::*;
use crate::decoder::{
    Stream, Transport,
    tests::{Duplex, Heard, established, frame, publication, read},
};

/// What a stream says of these frames.
fn read_frames(frames: &[u8]) -> (Vec<Heard>, Option<Fault>) {
    read(&mut established(Transport::WebSocket), [frames])
}

proptest! {
    /// What another implementation writes is read back: messages of every length form, whole and
    /// in fragments, and pings between them.
    #[test]
    fn another_implementation_is_understood(
        messages in vec((".{0,80}", prop_oneof![0..200usize, 65_530..65_540usize], 1..4usize), 1..6),
    ) {
        let mut server = Duplex::server();
        let mut expected = Vec::new();
        for (text, len, fragments) in messages {
            let binary = vec![0xfe; len];
            server.write(tungstenite::Message::text(&text)).unwrap();
            server.write(tungstenite::Message::binary(binary.clone())).unwrap();
            server.write(tungstenite::Message::Ping(b"p"[..].into())).unwrap();
            expected.extend([publication(&text), publication(&binary), Heard::Ping(b"p".to_vec())]);
            for index in 0..fragments {
                let kind = if index == 0 { Data::Text } else { Data::Continue };
                let part = text.clone().into_bytes();
                let part = Frame::message(part, OpCode::Data(kind), index + 1 == fragments);
                server.write(tungstenite::Message::Frame(part)).unwrap();
            }
            expected.push(publication(text.repeat(fragments)));
        }
        server.close(None).unwrap();
        server.flush().unwrap();
        expected.push(Heard::Closed(None, String::new()));
        prop_assert_eq!(read_frames(&server.get_ref().output), (expected, None));
    }
}

/// Every broken rule is its own fault, and what came before it is told.
#[test]
fn every_violation_is_named() {
    let long_control = [&[0x89, 126, 0, 126][..], &[0; 126]].concat();
    let open = frame(0x01, b"a");
    let cases: &[(Vec<u8>, Fault)] = &[
        (frame(0xc1, b"a"), Fault::ReservedBit),
        (frame(0xa1, b"a"), Fault::ReservedBit),
        (frame(0x91, b"a"), Fault::ReservedBit),
        (frame(0x83, b"a"), Fault::ReservedOpcode(3)),
        (frame(0x8b, b"a"), Fault::ReservedOpcode(11)),
        (b"\x81\x81\0\0\0\0a".to_vec(), Fault::Masked),
        (b"\x81\x7e\x00\x7d".to_vec(), Fault::LengthNotShortest),
        (b"\x81\x7f\0\0\0\0\0\0\xff\xff".to_vec(), Fault::LengthNotShortest),
        (b"\x81\x7f\x80\0\0\0\0\0\0\0".to_vec(), Fault::LengthOverflows),
        (long_control, Fault::ControlTooLong),
        (frame(0x09, b""), Fault::ControlFragmented),
        (frame(0x08, b""), Fault::ControlFragmented),
        (frame(0x80, b"a"), Fault::ContinuesNothing),
        ([open.clone(), frame(0x81, b"b")].concat(), Fault::MessageInterrupted),
        ([open.clone(), frame(0x02, b"b")].concat(), Fault::MessageInterrupted),
        (frame(0x81, b"\xff"), Fault::NotUtf8),
        ([open, frame(0x80, b"\xe2\x82")].concat(), Fault::NotUtf8),
        (frame(0x88, b"\x03"), Fault::CloseTooShort),
        ([frame(0x88, b""), frame(0x8a, b"")].concat(), Fault::AfterClose),
    ];
    for (bytes, fault) in cases {
        let (heard, found) = read_frames(&[frame(0x81, b"before"), bytes.clone()].concat());
        assert_eq!(found.as_ref(), Some(fault), "{bytes:?}");
        assert_eq!(heard[0], publication("before"));
        let after = [Heard::Closed(None, String::new())];
        assert_eq!(heard[1..], after[..usize::from(*fault == Fault::AfterClose)]);
    }
}

/// The codes that may be sent are those of RFC 6455 §7.4 and its registry; a reason is text or none.
#[test]
fn a_close_frame_has_a_code_that_may_be_sent() {
    for code in (0..=u16::MAX).filter(|code| *code < 5001 || code.is_multiple_of(997)) {
        let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let bytes = frame(0x88, &[&code.to_be_bytes()[..], b"why"].concat());
        let expected = if may_be_sent {
            (vec![Heard::Closed(Some(code), "why".into())], None)
        } else {
            (vec![], Some(Fault::CloseCode(code)))
        };
        assert_eq!(read_frames(&bytes), expected);
    }
    let garbled = frame(0x88, b"\x03\xe8\xff");
    assert_eq!(read_frames(&garbled), (vec![Heard::Closed(Some(1000), String::new())], None));
    assert_eq!(read_frames(&frame(0x88, b"")), (vec![Heard::Closed(None, String::new())], None));
}

/// A control frame takes 125 bytes, also between the fragments of a message.
#[test]
fn the_longest_control_frame_is_taken() {
    let ping = [b'p'; CONTROL_BYTES_MAX];
    let frames = [frame(0x01, b"a"), frame(0x89, &ping), frame(0x80, b"b")].concat();
    let expected = vec![Heard::Ping(ping.to_vec()), publication("ab")];
    assert_eq!(read_frames(&frames), (expected, None));
}

/// A message may be as long as the bound, in one frame or in several, and not one byte longer. One
/// that is too long fails by its header, before any of it is kept.
#[test]
fn the_longest_message_is_taken_and_no_longer_one() {
    let longest = vec![b'x'; MESSAGE_BYTES_MAX];
    let whole = frame(0x81, &longest);
    let half = MESSAGE_BYTES_MAX / 2;
    let fragments =
        [frame(0x01, &longest[..half]), frame(0x00, b""), frame(0x80, &longest[half..])].concat();
    for bytes in [whole, fragments] {
        let mut stream = established(Transport::WebSocket);
        let (heard, fault) = read(&mut stream, bytes.chunks(100_000));
        assert_eq!((heard.len(), fault), (1, None));
        assert!(heard[0] == publication(&longest), "another message");
        assert!(stream.owns_nothing());
    }

    let beyond = |first: u8, len: usize| [&[first, 127][..], &(len as u64).to_be_bytes()].concat();
    let too_long = (vec![], Some(Fault::MessageTooLarge));
    assert_eq!(read_frames(&beyond(0x81, MESSAGE_BYTES_MAX + 1)), too_long);
    let second_too_long = [frame(0x01, b"a"), beyond(0x80, MESSAGE_BYTES_MAX)].concat();
    assert_eq!(read_frames(&second_too_long), too_long);
}

/// A length that was only declared takes no memory.
#[test]
fn a_declared_length_reserves_nothing() {
    let mut stream: Stream = established(Transport::WebSocket);
    let start = [&[0x81, 127][..], &(MESSAGE_BYTES_MAX as u64).to_be_bytes(), b"abc"].concat();
    assert_eq!(read(&mut stream, start.chunks(1)), (vec![], None));

    let mut frames = Frames::default();
    assert_eq!(frames.feed(&mut &start[..], &mut |_| {}), Ok(false));
    assert!(frames.rest.unwrap().frame.capacity() < 64);
}
