//! Publications as events: each is one chunk, and its data lines give the payload back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::{
    frame::{Format, PayloadKind, Publication},
    ids::{ChannelName, Epoch, Offset, Position},
    wire::{encode, encoded_len, frame_len},
};

fuzz_target!(|input: (u64, u128, &[u8])| {
    let (epoch, offset, payload) = input;
    let position = Position { epoch: Epoch(epoch), offset: Offset(offset) };
    let kind = PayloadKind::of(payload);
    let channel = &ChannelName::new("news").unwrap();
    let publication = Publication { channel, position, kind, key: None, payload };
    let mut frame = vec![0xaa; encoded_len(Format::Sse, &publication)];
    encode(Format::Sse, &publication, &mut frame);
    assert_eq!(frame_len(Format::Sse, &frame), frame.len());

    let text = String::from_utf8(frame).unwrap();
    let (_size, event) = text.split_once("\r\n").unwrap();
    let fields = event.strip_prefix(&format!("id: {position}\n")).unwrap();
    let fields = fields.strip_suffix("\n\r\n").unwrap();
    if kind == PayloadKind::Text {
        let data: String =
            fields.split_inclusive('\n').map(|line| line.strip_prefix("data: ").unwrap()).collect();
        let sent = String::from_utf8_lossy(payload).replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(data.strip_suffix('\n').unwrap(), sent);
    } else {
        assert!(fields.starts_with("event: base64\ndata: "));
    }
});
