//! What it costs to lay down one publication, per format: paid once per publication and format in
//! use, however many subscribers there are.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stentor::{
    frame::{Format, PayloadKind, Publication},
    ids::{ChannelName, Epoch, Offset, Position},
    wire::{encode, encoded_len},
};

/// Counting the bytes and filling them, in memory that is there already.
fn encoding(criterion: &mut Criterion) {
    let channel = ChannelName::new("news").unwrap();
    let position = Position { epoch: Epoch(0x18c2_f3a9_d1ee), offset: Offset(1_234_567) };
    let lines = |len: usize| "a line of text, as logs have them\n".bytes().cycle().take(len);
    for (name, kind, byte) in [
        ("text", PayloadKind::Text, Some(b'x')),
        ("lines", PayloadKind::Text, None),
        ("binary", PayloadKind::Binary, Some(0xff)),
    ] {
        for format in Format::ALL {
            let mut group = criterion.benchmark_group(format!("encode/{}/{name}", format.label()));
            for len in [64, 1024] {
                let payload: Vec<u8> = match byte {
                    Some(byte) => vec![byte; len],
                    None => lines(len).collect(),
                };
                let publication =
                    Publication { channel: &channel, position, kind, key: None, payload: &payload };
                let mut out = vec![0; encoded_len(format, &publication)];
                group.throughput(Throughput::Bytes(len as u64));
                group.bench_with_input(BenchmarkId::from_parameter(len), &publication, |b, p| {
                    b.iter(|| {
                        let len = encoded_len(format, black_box(p));
                        encode(format, p, &mut out[..len]);
                        black_box(&out);
                    });
                });
            }
        }
    }
}

criterion_group!(benches, encoding);
criterion_main!(benches);
