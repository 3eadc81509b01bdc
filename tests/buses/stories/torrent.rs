//! Many records to many subscribers, held to every byte.
//!
//! A WebSocket's bytes follow from what is published, so a subscriber compares what it reads with what
//! it must be, and takes nothing apart: a hundred of them cost little beside the server.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    bus::{Bus, CHANNELS, Record},
    support::{DEADLINE, Server, eventually, upgrade},
};

/// Bytes of each payload.
const PAYLOAD_BYTES: usize = 100;

/// Bytes of its frame: a head of two.
const FRAME_BYTES: usize = PAYLOAD_BYTES + 2;

/// Records, and what subscribers are to read.
pub struct Torrent {
    /// What to publish, in order; channels take turns.
    pub records: Vec<Record>,
    /// By channel, its name and the bytes.
    expected: Vec<(String, Arc<[u8]>)>,
}

impl Torrent {
    /// So many records.
    pub fn new<B: Bus>(count: usize) -> Torrent {
        let record = |number: usize| {
            let payload = format!("{number:0>width$}", width = PAYLOAD_BYTES).into_bytes();
            Record { channel: B::channel(number % CHANNELS), payload }
        };
        let records: Vec<Record> = (0..count).map(record).collect();
        let expected = (0..CHANNELS).map(|channel| {
            let own = records.iter().skip(channel).step_by(CHANNELS);
            let bytes: Vec<u8> = own.flat_map(frame).collect();
            (B::channel(channel), bytes.into())
        });
        Torrent { expected: expected.collect(), records }
    }

    /// So many subscribers, on all channels alike.
    #[track_caller]
    pub fn join(&self, edge: &Server, count: usize) -> Readers {
        let reader = |number: usize| {
            let (channel, expected) = &self.expected[number % CHANNELS];
            let stream = subscribe(edge, channel);
            let (read, expected) = (Arc::new(AtomicUsize::new(0)), Arc::clone(expected));
            let told = Arc::clone(&read);
            let thread = thread::spawn(move || read_all(stream, &expected, &told));
            Reader { thread, read }
        };
        Readers { readers: (0..count).map(reader).collect(), published: 0 }
    }
}

/// Subscribers, a thread each.
pub struct Readers {
    readers: Vec<Reader>,
    /// Records that they were told of.
    published: usize,
}

struct Reader {
    thread: thread::JoinHandle<()>,
    /// Bytes that it has read.
    read: Arc<AtomicUsize>,
}

impl Readers {
    /// Waits until all of them have read these records, which were published, too.
    #[track_caller]
    pub fn await_more(&mut self, records: &[Record]) {
        self.published += records.len();
        for (number, reader) in self.readers.iter().enumerate() {
            let of_channel = (self.published + CHANNELS - 1 - number % CHANNELS) / CHANNELS;
            eventually(&format!("subscriber {number} has read {of_channel}"), || {
                let is_there = reader.read.load(Ordering::SeqCst) == of_channel * FRAME_BYTES;
                (is_there || reader.thread.is_finished()).then_some(())
            });
        }
    }

    /// Waits until each has read everything.
    #[track_caller]
    pub fn expect_everything(self) {
        for (number, reader) in self.readers.into_iter().enumerate() {
            assert!(reader.thread.join().is_ok(), "subscriber {number} read something else");
        }
    }
}

fn frame(record: &Record) -> Vec<u8> {
    [&[0x81, PAYLOAD_BYTES as u8], &record.payload[..]].concat()
}

#[track_caller]
fn subscribe(edge: &Server, channel: &str) -> TcpStream {
    let mut stream = TcpStream::connect(edge.subscribers).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream.write_all(format!("{}\r\n", upgrade(&format!("/ws/{channel}"))).as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Reads all that is expected, and nothing else.
fn read_all(mut stream: TcpStream, expected: &[u8], told: &AtomicUsize) {
    let mut piece = vec![0; 64 * 1024];
    let mut at = 0;
    while at < expected.len() {
        let read = stream.read(&mut piece).expect("it goes on");
        assert!(read > 0, "it ended after {at} bytes");
        let right = &expected[at..expected.len().min(at + read)];
        let same = right.iter().zip(&piece[..read]).take_while(|(one, other)| one == other);
        if right != &piece[..read] {
            let number = (at + same.count()) / FRAME_BYTES;
            panic!(
                "publication {number} of the channel differs: {:?}",
                String::from_utf8_lossy(&piece[..read])
            );
        }
        at += read;
        told.store(at, Ordering::SeqCst);
    }
}
