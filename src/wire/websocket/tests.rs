use proptest::prelude::*;
use tungstenite::protocol::frame::Frame;

use super::*;

const OPEN: Limits = Limits { messages: true, frame_max: 100_000, message_max: 150_000 };
const PLAIN: Limits = Limits { messages: false, ..OPEN };

/// A frame as a client sends it, laid out by hand from the picture in RFC 6455 §5.2.
fn client_frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(first, [1, 2, 3, 4], payload)
}

/// What the decoder says when the reads end at the given places, up to its first fault.
fn decode_at(bytes: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<Event>, Option<Fault>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let mut input = &bytes[start..end];
        start = end;
        loop {
            match decoder.next(&mut input, limits) {
                // What comes of it is told with its message.
                Ok(Some(Event::Fragment)) => {}
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(fault) => return (events, Some(fault)),
            }
        }
        assert!(input.is_empty());
    }
    (events, None)
}

fn decode(bytes: &[u8], limits: &Limits) -> (Vec<Event>, Option<Fault>) {
    decode_at(bytes, &[], limits)
}

fn fault(bytes: &[u8], limits: &Limits) -> Option<Fault> {
    let (events, fault) = decode(bytes, limits);
    assert_eq!(events, []);
    fault
}

fn control(bytes: &[u8]) -> ControlPayload {
    let frame = frame(0x89, bytes);
    match decode(&frame, &PLAIN) {
        (events, None) => match events[..] {
            [Event::Ping(payload)] => payload,
            _ => panic!("{events:?}"),
        },
        (_, fault) => panic!("{fault:?}"),
    }
}

/// Every fragment is told when it ends, although nothing comes of it yet.
#[test]
fn fragments_are_told() {
    let bytes = [frame(0x01, b"a"), frame(0x00, b""), frame(0x80, b"b")].concat();
    let (mut decoder, mut input) = (Decoder::default(), &bytes[..]);
    let mut next = |decoder: &mut Decoder| decoder.next(&mut input, &OPEN).unwrap();
    for _ in 0..2 {
        assert_eq!(
            (next(&mut decoder), decoder.is_within_message()),
            (Some(Event::Fragment), true)
        );
    }
    let message = Event::Message(PayloadKind::Text, b"ab".to_vec());
    assert_eq!((next(&mut decoder), decoder.is_within_message()), (Some(message), false));
}

/// Each rule of §5.2 to §5.5, broken alone.
#[test]
fn broken_frames_are_faults() {
    assert_eq!(fault(&[0x89, 0], &OPEN), Some(Fault::NotMasked));
    for rsv in [0x40, 0x20, 0x10] {
        assert_eq!(fault(&frame(0x81 | rsv, b""), &OPEN), Some(Fault::ReservedBit));
    }
    for opcode in (3..8).chain(11..16) {
        assert_eq!(fault(&frame(0x80 | opcode, b""), &OPEN), Some(Fault::ReservedOpcode));
    }
    for opcode in 8..11 {
        assert_eq!(fault(&frame(opcode, b""), &OPEN), Some(Fault::ControlFragmented));
        assert_eq!(fault(&frame(0x80 | opcode, &[0; 126]), &OPEN), Some(Fault::ControlTooLong));
    }
    assert_eq!(fault(&frame(0x80, b""), &OPEN), Some(Fault::NothingToContinue));
    assert_eq!(fault(&frame(0x00, b""), &PLAIN), Some(Fault::NothingToContinue));
    for second in [0x81, 0x82, 0x01] {
        let unfinished = [frame(0x01, b"a"), frame(second, b"b")].concat();
        assert_eq!(fault(&unfinished, &OPEN), Some(Fault::MessageUnfinished));
    }
    let long_form = |length: &[u8]| [&[0x82], length, &[0; 4]].concat();
    for length in [&[0xfe, 0, 125][..], &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], &[0xff; 9]] {
        assert_eq!(fault(&long_form(length), &OPEN), Some(Fault::LengthForm), "{length:?}");
    }
}

/// Close payloads of §5.5.1: all two-byte codes, one byte, and reasons.
#[test]
fn close_frames_are_checked() {
    let close = |payload: &[u8]| decode(&frame(0x88, payload), &PLAIN);
    assert_eq!(close(b""), (vec![Event::Close(None)], None));
    assert_eq!(close(b"\x03"), (vec![], Some(Fault::ClosePayload)));
    assert_eq!(close(b"\x03\xe8\xff"), (vec![], Some(Fault::NotUtf8)));
    assert_eq!(close("\u{3}\u{0}".as_bytes()), (vec![], Some(Fault::CloseCode)));
    let longest = [&[0x03, 0xe9][..], &[b'x'; 123]].concat();
    assert_eq!(close(&longest), (vec![Event::Close(Some(1001))], None));
    let fine = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    for code in 0..=u16::MAX {
        let valid = fine.contains(&code) || (3000..5000).contains(&code);
        let fault = (!valid).then_some(Fault::CloseCode);
        let events = if valid { vec![Event::Close(Some(code))] } else { vec![] };
        assert_eq!(close(&code.to_be_bytes()), (events, fault), "{code}");
    }
}

/// Sizes are refused from the header alone, before any payload has come.
#[test]
fn sizes_are_refused_at_the_header() {
    let head = |first: u8, len: u32| {
        [&[first, 0xff, 0, 0, 0, 0][..], &len.to_be_bytes(), &[0; 4]].concat()
    };
    assert_eq!(fault(&head(0x82, 100_001), &OPEN), Some(Fault::FrameTooBig));
    assert_eq!(fault(&head(0x82, 100_000), &OPEN), None);
    assert_eq!(fault(&head(0x82, 100_001), &PLAIN), Some(Fault::FrameTooBig));
    assert_eq!(fault(&head(0x82, 100_000), &PLAIN), Some(Fault::MessageNotWanted));
    assert_eq!(fault(&frame(0x01, b"a")[..6], &PLAIN), Some(Fault::MessageNotWanted));
    let begun = frame(0x02, &[0; 70_000]);
    assert_eq!(
        fault(&[&begun[..], &head(0x80, 80_001)].concat(), &OPEN),
        Some(Fault::MessageTooBig)
    );
    assert_eq!(fault(&[&begun[..], &head(0x80, 80_000)].concat(), &OPEN), None);
}

/// Text fails with its first byte that no continuation can mend, in whichever frame that stands;
/// a character may be cut anywhere but at the message's end (§8.1).
#[test]
fn text_fails_at_the_first_wrong_byte() {
    let good = "aß水𝄞\u{10ffff}".as_bytes();
    for cut in 0..=good.len() {
        let bytes = [frame(0x01, &good[..cut]), frame(0x80, &good[cut..])].concat();
        let message = Event::Message(PayloadKind::Text, good.to_vec());
        assert_eq!(decode(&bytes, &OPEN), (vec![message], None), "{cut}");
    }
    for bad in [&b"\x80"[..], b"\xc0", b"\xff", b"\xed\xa0", b"\xf4\x90", b"\xe0\x80", b"a\xc3a"] {
        let bytes = frame(0x01, &[bad, &[b'x'; 50]].concat());
        let wrong = 6 + bad.len();
        assert_eq!(fault(&bytes[..wrong - 1], &OPEN), None, "{bad:?}");
        assert_eq!(fault(&bytes[..wrong], &OPEN), Some(Fault::NotUtf8), "{bad:?}");
    }
    assert_eq!(fault(&frame(0x81, b"a\xf0\x9d"), &OPEN), Some(Fault::NotUtf8));
    assert_eq!(fault(&frame(0x01, b"a\xf0\x9d"), &OPEN), None);
}

/// A decoder gives its memory back at the end of every frame that ends a message.
#[test]
fn between_frames_nothing_is_owned() {
    let mut decoder = Decoder::default();
    let bytes =
        [frame(0x01, b"ab"), frame(0x89, b"p"), frame(0x80, b"c"), frame(0x8a, b"")].concat();
    let mut between = Vec::new();
    for at in 0..bytes.len() {
        if decoder.is_between_frames() {
            between.push(at);
        }
        let mut input = &bytes[at..=at];
        decoder.next(&mut input, &OPEN).unwrap();
        assert!(input.is_empty());
    }
    assert!(decoder.is_between_frames());
    assert_eq!(between, [0, 8 + 7 + 7]);
}

/// Every close frame that the server sends is one that a client must accept (§5.5.1, §7.4).
#[test]
fn the_servers_close_frames_are_valid() {
    let faults = [
        Fault::NotMasked,
        Fault::ReservedBit,
        Fault::ReservedOpcode,
        Fault::LengthForm,
        Fault::ControlTooLong,
        Fault::ControlFragmented,
        Fault::NothingToContinue,
        Fault::MessageUnfinished,
        Fault::ClosePayload,
        Fault::CloseCode,
        Fault::NotUtf8,
        Fault::FrameTooBig,
        Fault::MessageTooBig,
        Fault::MessageNotWanted,
    ];
    let texts = faults.map(|fault| (fault.reason(), fault.to_string()));
    let reasons = CloseReason::ALL.map(|reason| (reason, reason.label().to_string()));
    for (reason, text) in texts.into_iter().chain(reasons) {
        let mut out = Vec::new();
        write_close_text(reason, &text, &mut out);
        assert_eq!(out.len(), frame_len(&out));
        assert_eq!(out[..2], [0x88, 2 + text.len() as u8]);
        assert_eq!(out[2..4], reason.websocket_code().to_be_bytes());
        assert_eq!(&out[4..], text.as_bytes());
        let payload = frame(0x88, &out[2..]);
        assert_eq!(
            decode(&payload, &PLAIN),
            (vec![Event::Close(Some(reason.websocket_code()))], None)
        );
    }
}

/// The server's frames at each size where the header changes, against tungstenite's.
#[test]
fn data_frames_are_those_of_tungstenite() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![b'x'; len];
        for (kind, data) in [(PayloadKind::Text, Data::Text), (PayloadKind::Binary, Data::Binary)] {
            let mut expected = Vec::new();
            let frame = Frame::message(payload.clone(), OpCode::Data(data), true);
            frame.format(&mut expected).unwrap();
            let mut out = Vec::new();
            write_message(kind, &payload, &mut out);
            assert_eq!(out, expected);
            assert_eq!((encoded_len(len), frame_len(&out)), (out.len(), out.len()));
        }
    }
}

/// Pongs carry the ping's payload; a close without a code is answered without one.
#[test]
fn control_answers_are_exact() {
    let mut out = Vec::new();
    write_pong(&control(b"hi"), &mut out);
    write_close_echo(None, &mut out);
    write_close_echo(Some(4321), &mut out);
    assert_eq!(out, [0x8a, 2, b'h', b'i', 0x88, 0, 0x88, 2, 0x10, 0xe1]);
    assert_eq!(PING, [0x89, 0]);
}

/// One thing a client says, and how it cuts it.
#[derive(Clone, Debug)]
enum Said {
    Message { kind: PayloadKind, fragments: Vec<Vec<u8>>, pings_between: bool },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn said() -> impl Strategy<Value = Said> {
    let small = || prop::collection::vec(any::<u8>(), 0..=125);
    let sizes = prop_oneof![8 => 0..200usize, 1 => 65_530..65_540usize];
    let bytes = (sizes, any::<u8>()).prop_map(|(len, step)| {
        (0..len).map(|at| (at as u8).wrapping_mul(step)).collect::<Vec<u8>>()
    });
    let text = "\\PC{0,60}".prop_map(String::into_bytes);
    let content = prop_oneof![
        text.prop_map(|text| (PayloadKind::Text, text)),
        bytes.prop_map(|bytes| (PayloadKind::Binary, bytes)),
    ];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop_oneof![
        3 => (content, cuts, any::<bool>()).prop_map(|((kind, bytes), cuts, pings_between)| {
            Said::Message { kind, fragments: fragments(&bytes, &cuts), pings_between }
        }),
        1 => small().prop_map(Said::Ping),
        1 => small().prop_map(Said::Pong),
    ]
}

fn fragments(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([bytes.len()]);
    starts.zip(ends).map(|(start, end)| bytes[start..end].to_vec()).collect()
}

/// The bytes of what was said, by the given writer of one frame, and the events they must give.
fn spoken(said: &[Said], mut frame: impl FnMut(u8, &[u8]) -> Vec<u8>) -> (Vec<u8>, Vec<Event>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for said in said {
        match said {
            Said::Ping(payload) => {
                bytes.extend(frame(0x89, payload));
                events.push(Event::Ping(control(payload)));
            }
            Said::Pong(payload) => {
                bytes.extend(frame(0x8a, payload));
                events.push(Event::Pong(control(payload)));
            }
            Said::Message { kind, fragments, pings_between } => {
                for (at, fragment) in fragments.iter().enumerate() {
                    let opcode = if *kind == PayloadKind::Text { 1 } else { 2 };
                    let last = if at + 1 == fragments.len() { 0x80 } else { 0 };
                    bytes.extend(frame(last | if at == 0 { opcode } else { 0 }, fragment));
                    if *pings_between && last == 0 {
                        bytes.extend(frame(0x89, b"mid"));
                        events.push(Event::Ping(control(b"mid")));
                    }
                }
                events.push(Event::Message(*kind, fragments.concat()));
            }
        }
    }
    (bytes, events)
}

/// The same frame, by tungstenite's client side, with its own mask.
fn tungstenite_frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let header = FrameHeader {
        is_final: first & 0x80 != 0,
        opcode: OpCode::from(first & 0x0f),
        mask: Some(mask),
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

proptest! {
    /// A valid conversation is understood as it was meant, wherever the reads cut it, and the
    /// generator agrees with tungstenite on its bytes.
    #[test]
    fn a_conversation_is_understood(
        said in prop::collection::vec(said(), 0..6),
        mask: [u8; 4],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (bytes, events) = spoken(&said, |first, payload| client_frame(first, mask, payload));
        let theirs = spoken(&said, |first, payload| tungstenite_frame(first, payload, mask)).0;
        prop_assert_eq!(&bytes, &theirs);
        prop_assert_eq!(decode(&bytes, &OPEN), (events.clone(), None));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode_at(&bytes, &cuts, &OPEN), (events.clone(), None));
        if bytes.len() < 2000 {
            let all: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(decode_at(&bytes, &all, &OPEN), (events, None));
        }
    }

    /// Bytes of any kind are decoded alike at once and one by one, faults included.
    #[test]
    fn any_bytes_are_decoded_alike_however_cut(
        mut bytes in prop::collection::vec(any::<u8>(), 0..60),
        first in prop::sample::select(vec![0x81u8, 0x01, 0x82, 0x89, 0x8a, 0x88, 0x80]),
        messages: bool,
    ) {
        if let [head, second, ..] = &mut bytes[..] {
            *head = first;
            *second |= 0x80;
        }
        let limits = Limits { messages, frame_max: 40, message_max: 60 };
        let all: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(decode_at(&bytes, &all, &limits), decode(&bytes, &limits));
    }
}
