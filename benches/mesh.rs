//! What it costs to tell another shard that a channel's head has moved.

use std::{
    hint::{black_box, spin_loop},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use stentor::{
    hub::{Message, ViewId},
    ids::{Offset, ShardId},
    io::Bell,
    log::{Extent, Mark},
    mesh::{Mesh, Parking},
    segment::Writer,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INBOX_MESSAGES: usize = 4096;

struct Silence;

impl Bell for Silence {
    fn ring(&self) {}
}

fn mesh() -> Mesh<Message> {
    Mesh::new(INBOX_MESSAGES, [&Parking::new(Arc::new(Silence))])
}

/// News of one more frame in a segment.
fn head(writer: &Writer) -> Message {
    let view = ViewId { index: 0, generation: 1 };
    let end = Mark { byte: writer.len() as u64, frames: 1 };
    Message::Head { view, extent: Extent { bytes: writer.publish(), end, before: Offset(0) } }
}

/// Push, wake and pop by one thread: the work without the travel.
fn on_one_thread(criterion: &mut Criterion) {
    let (mesh, writer) = (mesh(), Writer::new(64));
    let inbox = mesh.inbox(ShardId(0));
    criterion.bench_function("mesh/head_on_one_thread", |bencher| {
        bencher.iter(|| {
            let pushed = inbox.push(head(&writer));
            inbox.wake();
            black_box((pushed.is_ok(), inbox.pop().is_some()))
        });
    });
}

/// Push by one thread and pop by another, as fast as both can: per message.
fn across_threads(criterion: &mut Criterion) {
    criterion.bench_function("mesh/head_across_threads", |bencher| {
        bencher.iter_custom(pass);
    });
}

/// Passes so many messages from one thread to another.
fn pass(messages: u64) -> Duration {
    let mesh = mesh();
    let sender = mesh.clone();
    let begun = Instant::now();
    let pusher = thread::spawn(move || {
        let (inbox, writer) = (sender.inbox(ShardId(0)), Writer::new(64));
        for _ in 0..messages {
            let mut message = head(&writer);
            while let Err(refused) = inbox.push(message) {
                message = refused;
                thread::yield_now();
            }
            inbox.wake();
        }
    });
    let inbox = mesh.inbox(ShardId(0));
    let mut left = messages;
    while left > 0 {
        match inbox.pop() {
            Some(message) => {
                black_box(message);
                left -= 1;
            }
            None => spin_loop(),
        }
    }
    pusher.join().expect("no panic");
    begun.elapsed()
}

criterion_group!(benches, on_one_thread, across_threads);
criterion_main!(benches);
