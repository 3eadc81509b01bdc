//! Messages between coordinator and agent: JSON, one to a line, over TCP.
//!
//! Nobody waits longer than asked, and no line is longer than whoever reads it allows.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of any line but those that carry a tally or what was published.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a line that carries a tally or what was published.
pub const LONG_LINE_BYTES_MAX: usize = 64 << 20;

/// One end of a connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    /// What came and was not taken.
    unread: Vec<u8>,
    /// How much of it has no end of a line.
    searched: usize,
}

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The other end closed.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Broken(#[from] io::Error),
    /// More bytes than one line may have.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    /// The line is none of the messages.
    #[error("a line is no message that is known here: {0}")]
    Unknown(#[from] serde_json::Error),
}

impl Line {
    /// An end of this connection.
    pub fn new(stream: TcpStream) -> io::Result<Line> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        Ok(Line { stream, unread: Vec::new(), searched: 0 })
    }

    /// Sends a message.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), LineError> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        Ok(self.stream.write_all(&line)?)
    }

    /// The next message of at most so many bytes; `None` if it is not here by then.
    pub fn receive<M: DeserializeOwned>(
        &mut self,
        until: Instant,
        bytes_max: usize,
    ) -> Result<Option<M>, LineError> {
        loop {
            if let Some(end) = self.end_of_line() {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                self.searched = 0;
                return match end > bytes_max {
                    true => Err(LineError::TooLong(bytes_max)),
                    false => Ok(Some(serde_json::from_slice(&line)?)),
                };
            }
            if self.unread.len() > bytes_max {
                return Err(LineError::TooLong(bytes_max));
            }
            if !self.is_readable(until)? {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Ends it so that the other end reads what was sent last, before it learns of the end.
    pub fn close(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        // To close with something unread would reset the connection, and discard what was sent.
        let until = Instant::now() + CLOSE_PATIENCE;
        while self.is_readable(until).is_ok_and(|it| it) && self.read().is_ok() {
            self.unread.clear();
        }
    }

    fn end_of_line(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', &self.unread[self.searched..]);
        let end = found.map(|at| self.searched + at);
        self.searched = end.unwrap_or(self.unread.len());
        end
    }

    fn read(&mut self) -> Result<(), LineError> {
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(LineError::Closed),
            Ok(count) => {
                self.unread.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until there is something to read, or the time has come.
    fn is_readable(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let patience = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut polled = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut polled, Some(&patience)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How long the other end may leave what is sent to it unread.
const WRITE_PATIENCE: Duration = Duration::from_secs(120);

/// How long the other end may take to see that this one has closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of one read.
const READ_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).expect("a connection");
        let (other, _) = listener.accept().expect("the same connection");
        (Line::new(stream).expect("a line"), other)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// Messages come whole and in order, however the bytes were cut up; then the end is told.
    #[test]
    fn messages_come_whole_and_in_order() {
        let (mut line, mut other) = pair();
        for bytes in ["[1]\n[2", "]", "\n[3]\n"] {
            other.write_all(bytes.as_bytes()).expect("a write");
            std::thread::sleep(Duration::from_millis(5));
        }
        for expected in 1..=3 {
            let message = line.receive::<Vec<u32>>(soon(), LINE_BYTES_MAX).expect("a message");
            assert_eq!(message, Some(vec![expected]));
        }
        let none = line.receive::<Vec<u32>>(Instant::now(), LINE_BYTES_MAX).expect("no failure");
        assert_eq!(none, None);
        drop(other);
        let end = line.receive::<Vec<u32>>(soon(), LINE_BYTES_MAX).expect_err("an end");
        assert!(matches!(end, LineError::Closed), "{end}");
    }

    /// A line of the most bytes is read; one byte more is refused, with or without its end.
    #[test]
    fn a_line_is_no_longer_than_allowed() {
        for (digits, is_refused) in [(8, false), (9, true)] {
            for end in ["\n", if is_refused { "" } else { "\n" }] {
                let (mut line, mut other) = pair();
                other
                    .write_all(format!("{}{end}", "1".repeat(digits)).as_bytes())
                    .expect("a write");
                let told = match line.receive::<u64>(soon(), 8) {
                    Err(LineError::TooLong(8)) => true,
                    Ok(Some(11_111_111)) => false,
                    other => panic!("{other:?}"),
                };
                assert_eq!(told, is_refused, "{digits} digits");
            }
        }
    }

    /// What was sent last is read by the other end, even if it goes on sending.
    #[test]
    fn the_last_words_are_heard() {
        let (mut line, other) = pair();
        let mut other = Line::new(other).expect("a line");
        other.send(&"unread").expect("sent");
        line.send(&"last words").expect("sent");
        let closing = std::thread::spawn(move || line.close());
        std::thread::sleep(Duration::from_millis(20));
        other.send(&"late").expect("sent");
        let heard = other.receive::<String>(soon(), LINE_BYTES_MAX).expect("no reset");
        assert_eq!(heard.as_deref(), Some("last words"));
        drop(other);
        closing.join().expect("no panic");
    }
}
