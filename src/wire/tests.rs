use proptest::prelude::*;

use super::*;
use crate::{
    frame::PayloadKind,
    ids::{ChannelName, Epoch, Offset, Position},
};

fn position() -> impl Strategy<Value = Position> {
    let offsets = prop_oneof![0..20u128, any::<u64>().prop_map(u128::from), any::<u128>()];
    let epochs = prop_oneof![0..300u64, any::<u64>()];
    (epochs, offsets)
        .prop_map(|(epoch, offset)| Position { epoch: Epoch(epoch), offset: Offset(offset) })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop_oneof![0..300usize, 65_500..65_600usize];
    prop_oneof![
        "[a-c\r\n]{0,40}".prop_map(String::into_bytes),
        sizes.prop_map(|size| vec![b'x'; size]),
        prop::collection::vec(any::<u8>(), 0..300),
    ]
}

proptest! {
    /// Encoding fills exactly the bytes that were counted, whatever was there, and the frames of a
    /// segment can be walked one by one to its end.
    #[test]
    fn frames_can_be_counted_and_walked(
        publications in prop::collection::vec((position(), payload()), 1..6),
    ) {
        for format in Format::ALL {
            let mut segment = Vec::new();
            let mut ends = Vec::new();
            for (position, payload) in &publications {
                let kind = PayloadKind::of(payload);
                let channel = &ChannelName::new("news").unwrap();
                let publication =
                    Publication { channel, position: *position, kind, key: None, payload };
                let len = encoded_len(format, &publication);
                let [zeros, ones] = [0x00, 0xff].map(|before| {
                    let mut out = vec![before; len];
                    encode(format, &publication, &mut out);
                    out
                });
                prop_assert_eq!(&zeros, &ones, "bytes were left as they were");
                segment.extend_from_slice(&zeros);
                ends.push(segment.len());
            }
            let mut at = 0;
            let walked: Vec<usize> = ends.iter().map(|_| {
                at += frame_len(format, &segment[at..]);
                at
            }).collect();
            prop_assert_eq!(walked, ends);
        }
    }
}
