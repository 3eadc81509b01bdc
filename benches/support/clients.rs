//! The client ends of a bench's sockets, which read what they were sent and hold it to what it
//! must be. They lie in a ring's table, where they cost no file descriptor.

use std::{
    io,
    net::TcpStream,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use stentor::{
    ids::Slot,
    io::{
        Kernel, Received, Send,
        bell::EventBell,
        uring::{Setup, Uring},
    },
    limits::{RECEIVE_BATCH, SEND_BATCH},
};

/// How the head of an answer ends.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// How long bytes that were sent may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connected sockets, read on demand.
pub struct Clients {
    kernel: Uring,
    slots: Vec<Slot>,
    /// Per slot, how many bytes of what is expected have come.
    got: Vec<usize>,
}

impl Clients {
    /// Room for so many.
    pub fn new(most: u32) -> io::Result<Clients> {
        let setup = Setup::new(most, u64::from(most));
        let kernel = Uring::open(&setup, Vec::new(), Arc::new(EventBell::new()?));
        let kernel = kernel.map_err(io::Error::other)?;
        Ok(Clients { got: vec![0; kernel.slots() as usize], kernel, slots: Vec::new() })
    }

    /// Takes one more.
    pub fn adopt(&mut self, socket: TcpStream) -> io::Result<()> {
        self.slots.push(self.kernel.adopt(socket.into())?);
        self.kernel.events(&mut Vec::new());
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// These clients send the same.
    pub fn say(&mut self, who: Range<usize>, bytes: &[u8]) {
        let mut exceptions = Vec::new();
        for slots in self.slots[who].chunks(SEND_BATCH) {
            let sends: Vec<_> = slots.iter().map(|&slot| Send { slot, bytes }).collect();
            self.kernel.send_batch(&sends, &mut exceptions);
        }
        assert!(exceptions.is_empty(), "a request did not go out: {exceptions:?}");
    }

    /// These clients read one answer each, which grants an upgrade.
    pub fn expect_upgrade(&mut self, who: Range<usize>) {
        self.read_all(who, |_, bytes| {
            assert!(bytes.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(bytes));
            assert!(bytes.ends_with(HEAD_END), "an answer was cut");
            bytes.len()
        });
    }

    /// These clients read exactly these bytes, and nothing more has come.
    pub fn expect(&mut self, who: Range<usize>, expected: &[u8]) {
        self.read_all(who.clone(), |got, bytes| {
            let end = got + bytes.len();
            assert!(expected.get(got..end) == Some(bytes), "a client got what was not sent");
            expected.len()
        });
        self.expect_nothing(who);
    }

    /// Nothing is left to be read by these clients.
    pub fn expect_nothing(&mut self, who: Range<usize>) {
        for slots in self.slots[who].chunks(RECEIVE_BATCH) {
            self.kernel.receive_batch(slots, &mut |slot, received| {
                assert_eq!(received, Received::Nothing, "client {} got too much", slot.0);
            });
        }
    }

    /// Reads until each of these clients has all. `take` gets what a client had before and what it got, and
    /// says how much that is in all.
    fn read_all(&mut self, who: Range<usize>, mut take: impl FnMut(usize, &[u8]) -> usize) {
        let begun = Instant::now();
        self.got.fill(0);
        let mut left = self.slots[who].to_vec();
        while !left.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{} clients did not get all", left.len());
            let mut short = Vec::new();
            for slots in left.chunks(RECEIVE_BATCH) {
                let got = &mut self.got;
                self.kernel.receive_batch(slots, &mut |slot, received| match received {
                    Received::Bytes(bytes) => {
                        let all = take(got[slot.index()], bytes);
                        got[slot.index()] += bytes.len();
                        if got[slot.index()] < all {
                            short.push(slot);
                        }
                    }
                    Received::Nothing => short.push(slot),
                    Received::End | Received::Broken => panic!("client {} was cut off", slot.0),
                });
            }
            left = short;
        }
    }
}
