//! The floor: `send()` in a loop, and nothing else.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::net::{SendFlags, send};

use super::{Contender, frame};
use crate::support::clients::Clients;

struct Floor {
    sockets: Vec<OwnedFd>,
}

pub fn start(sockets: Vec<OwnedFd>, _: &mut Clients) -> Box<dyn Contender> {
    Box::new(Floor { sockets })
}

impl Contender for Floor {
    fn deliver(&mut self, payloads: &[Bytes]) {
        let frames: Vec<Bytes> = payloads.iter().map(frame).collect();
        let frames = frames.concat();
        for socket in &self.sockets {
            let sent = send(socket, &frames, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            assert_eq!(sent, Ok(frames.len()));
        }
    }
}
