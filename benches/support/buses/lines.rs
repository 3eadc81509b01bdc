//! Lines over a Unix socket, which the edge makes.

use std::{io::Write, ops::Range, os::unix::net::UnixStream};

use super::{Bus, CHANNEL, Publish, payload};
use crate::support::Folder;

pub fn unix() -> Bus {
    let folder = Folder::new("bench-lines");
    let path = folder.path().join("in.sock");
    let input = format!("lines from=unix:{} channel={CHANNEL}", path.display());
    let connect = move |_| -> Box<dyn Publish> {
        let stream = UnixStream::connect(folder.path().join("in.sock")).expect("the edge listens");
        Box::new(Publisher { stream, batch: Vec::new() })
    };
    Bus { input, broker: None, connect: Box::new(connect) }
}

struct Publisher {
    stream: UnixStream,
    batch: Vec<u8>,
}

impl Publish for Publisher {
    fn publish(&mut self, numbers: Range<u64>) {
        self.batch.clear();
        for number in numbers {
            self.batch.extend_from_slice(&payload(number));
            self.batch.push(b'\n');
        }
        self.stream.write_all(&self.batch).expect("it takes what is sent");
    }
}
