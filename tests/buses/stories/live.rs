//! Stories of buses without a log, which cannot wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    bus::{Bus, Record},
    edge::{await_ready, edge, input, skipped},
    support::{Kind, Received, Subscriber, eventually},
};

/// What an input cannot hand over, since its queue is full and the bus cannot wait, is counted as
/// dropped: every record that was published is either delivered, in order, or counted.
///
/// Method: a flood into a queue of one, then single records until one of them is delivered.
pub fn a_full_queue_is_counted<B: Bus>() {
    let mut bus = B::start();
    let port = bus.port();
    let edge = edge(&input(&bus, port, "in-flight=1"), &[]);
    await_ready(&edge);
    let channel = B::channel(0);
    let subscriber = Subscriber::join(edge.subscribers, Kind::WebSocket, &channel);
    let (delivered, last) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let told = (Arc::clone(&delivered), Arc::clone(&last));
    let reader = thread::spawn(move || read_rising(subscriber, &told.0, &told.1));
    let record =
        |number: u64| Record { channel: B::channel(0), payload: number.to_string().into_bytes() };
    bus.publish(&(1..=B::FLOOD).map(record).collect::<Vec<_>>());
    let mut next = B::FLOOD;
    eventually("a record behind the flood is delivered", || {
        next += 1;
        bus.publish(&[record(next)]);
        (last.load(Ordering::SeqCst) > B::FLOOD).then_some(())
    });
    eventually("every record is delivered or counted as dropped", || {
        let accounted = skipped(&edge, "dropped") + delivered.load(Ordering::SeqCst);
        (accounted == next).then_some(())
    });
    assert!(skipped(&edge, "dropped") > 0, "the queue was never full");
    edge.stop();
    reader.join().expect("numbers rise");
}

/// Counts what is delivered until the connection ends; each number is above the one before.
fn read_rising(mut subscriber: Subscriber, delivered: &AtomicU64, last: &AtomicU64) {
    while let Received::Publication { payload, .. } = subscriber.next() {
        let number: u64 = String::from_utf8(payload).expect("text").parse().expect("a number");
        let before = last.swap(number, Ordering::SeqCst);
        assert!(number > before, "{number} after {before}");
        delivered.fetch_add(1, Ordering::SeqCst);
    }
}
