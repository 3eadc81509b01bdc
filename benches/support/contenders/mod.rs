//! Five ways to send the same bytes to the same sockets.
//!
//! Each is written as its careful user would write it: what is encoded is encoded once, what waits
//! together leaves in one write, and a connection that stands still holds up nobody else (but for
//! the floor, which does nothing else than to send).

mod floor;
mod stentor;
mod tokio_uring;
mod tungstenite;

use std::{
    os::fd::OwnedFd,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::clients::Clients;

/// Something that delivers publications to a set of connections.
pub trait Contender {
    /// Delivers the publications, which are there at the same time, to every subscriber. Returns
    /// when all bytes were written.
    fn deliver(&mut self, payloads: &[Bytes]);
}

/// Makes a contender that serves these sockets.
pub type Start = fn(Vec<OwnedFd>, &mut Clients) -> Box<dyn Contender>;

/// All of them, the floor first.
pub const ALL: [(&str, Start); 5] = [
    ("send() loop", floor::start),
    ("stentor uring", stentor::start_uring),
    ("stentor epoll", stentor::start_epoll),
    ("tokio-uring", tokio_uring::start),
    ("tokio-tungstenite", tungstenite::start),
];

/// The frame that carries a publication: one byte of opcode, one of length, the payload.
pub fn frame(payload: &Bytes) -> Bytes {
    assert!(payload.len() < 126, "a short frame");
    let header = [0x81, payload.len() as u8];
    [&header[..], payload].concat().into()
}

/// Counts what tasks have written, for whoever waits for all of it.
#[derive(Default)]
struct Written {
    left: AtomicUsize,
    all: Notify,
}

impl Written {
    fn expect(&self, count: usize) {
        self.left.store(count, Ordering::Relaxed);
    }

    fn add(&self, count: usize) {
        if self.left.fetch_sub(count, Ordering::Relaxed) == count {
            self.all.notify_one();
        }
    }
}
