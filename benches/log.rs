//! What it costs to store a frame, to hear of it, and to find what a subscriber is owed.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use stentor::{
    frame::PayloadKind,
    ids::Offset,
    log::{Extent, Log, Stamp, Window},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FRAME_BYTES: usize = 66;
const STAMP: Stamp = Stamp { offset: Offset(1), kind: PayloadKind::Text, time: 0 };
const LAG_BYTES_MAX: usize = 16 << 20;

/// Storing a frame, telling one reading shard of it, and forgetting what it was told.
fn appending(criterion: &mut Criterion) {
    let mut log = Log::new(0, Offset(0), false);
    let mut window = Window::at(log.head(), false);
    criterion.bench_function("log/append_and_tell", |bencher| {
        bencher.iter(|| {
            let told = log.head().mark.byte;
            log.append(FRAME_BYTES, STAMP, |bytes| bytes.fill(b'x'));
            log.since(told).for_each(|extent| window.on_extent(extent));
            log.forget(log.head().mark.byte, u64::MAX);
            window.trim(window.head().mark.byte);
        });
    });
}

/// Finding what is owed, paid once per subscriber and sweep: at the newest segment, where nearly
/// everybody stands, and far behind it.
fn finding(criterion: &mut Criterion) {
    let mut log = Log::new(0, Offset(0), false);
    let mut extents: Vec<Extent> = Vec::new();
    let mut window = Window::at(log.head(), false);
    while log.head().mark.byte < LAG_BYTES_MAX as u64 {
        let told = log.head().mark.byte;
        log.append(FRAME_BYTES, STAMP, |bytes| bytes.fill(b'x'));
        extents.extend(log.since(told));
        extents.drain(..).for_each(|extent| window.on_extent(extent));
        log.forget(told, u64::MAX);
    }
    let head = window.head().mark.byte;
    for (name, byte) in
        [("log/due_one_frame", head - FRAME_BYTES as u64), ("log/due_far_behind", 0)]
    {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| black_box(window.due(black_box(byte))));
        });
    }
}

criterion_group!(benches, appending, finding);
criterion_main!(benches);
