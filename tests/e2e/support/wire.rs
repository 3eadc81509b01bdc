//! A plain client by hand: bytes out, heads, chunks and frames in. It forgives nothing.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use super::DEADLINE;

/// One connection to the server under test.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
}

/// A whole answer, after which the connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// What followed.
    pub body: Vec<u8>,
}

impl Head {
    /// The values of a header, joined by commas; `None` if it was not sent.
    pub fn get(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server listens");
        Wire::over(stream)
    }

    fn over(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, buffer: Vec::new(), at: 0 }
    }

    /// Connects from an address of this machine.
    pub fn from(source: IpAddr, address: SocketAddr) -> Wire {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this machine");
        socket.connect(&address.into()).expect("the server listens");
        Wire::over(socket.into())
    }

    /// Connects and sends a request: its lines, without the empty one at the end.
    pub fn request(address: SocketAddr, head: &str) -> Wire {
        let mut wire = Wire::connect(address);
        wire.send(format!("{head}\r\n").as_bytes());
        wire
    }

    /// The connection itself, for another protocol upon it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Our end of the connection.
    pub fn own_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    /// Fills `next` with what comes next, which stays to be received; less at the end alone.
    #[track_caller]
    pub fn peek(&self, next: &mut [u8]) -> usize {
        loop {
            match self.stream.peek(next) {
                Ok(seen) => return seen,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
    }

    /// The same, where the server may have closed without a word; `None` if it has.
    pub fn try_peek(&self, next: &mut [u8]) -> Option<()> {
        loop {
            match self.stream.peek(next) {
                Ok(seen) if seen == next.len() => return Some(()),
                Ok(0) => return None,
                Ok(_) => std::thread::yield_now(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Whether something came, or the end.
    pub fn is_readable(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        seen.is_ok()
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what is sent");
    }

    /// Sends bytes to a server that may have ended the connection.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Bytes that were received and not asked for.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// Receives more; `false` at the end of the stream.
    #[track_caller]
    fn more(&mut self) -> bool {
        if self.at > 64 * 1024 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let end = self.buffer.len();
        self.buffer.resize(end + 16 * 1024, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[end..]) {
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the connection broke ({error}) after {:?}", self.seen(end)),
            }
        };
        self.buffer.truncate(end + read);
        read > 0
    }

    fn seen(&self, end: usize) -> String {
        String::from_utf8_lossy(&self.buffer[self.at..end][..(end - self.at).min(200)]).into()
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffered() < count {
            let end = self.buffer.len();
            assert!(self.more(), "the stream ended after {:?}", self.seen(end));
        }
        self.at += count;
        self.buffer[self.at - count..self.at].to_vec()
    }

    /// A line without its CR LF; `None` at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.at..];
            if let Some(end) = unread[searched..].windows(2).position(|pair| pair == b"\r\n") {
                let line = self.exactly(searched + end + 2);
                return Some(String::from_utf8(line[..searched + end].to_vec()).expect("text"));
            }
            searched = unread.len().saturating_sub(1);
            if !self.more() {
                assert_eq!(self.buffered(), 0, "the stream ended within a line");
                return None;
            }
        }
    }

    /// The head of an answer.
    #[track_caller]
    pub fn head(&mut self) -> Head {
        let status_line = self.line().expect("an answer");
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|code| code.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line().expect("a head ends with an empty line");
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").expect("a header");
            headers.push((name.to_owned(), value.to_owned()));
        }
        Head { status: status.unwrap_or_else(|| panic!("{status_line}")), headers }
    }

    /// The content of the next chunk; empty for the last. `None` at the end of the stream.
    #[track_caller]
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line()?;
        let length = usize::from_str_radix(&size, 16).expect("a chunk's size");
        let content = self.exactly(length);
        assert_eq!(self.exactly(2), b"\r\n");
        Some(content)
    }

    /// The answer to a request on a connection that goes on.
    #[track_caller]
    pub fn next_answer(&mut self) -> Answer {
        let head = self.head();
        let length = match head.status {
            304 => 0,
            _ => head.get("Content-Length").expect("an answer says its length").parse().unwrap(),
        };
        Answer { body: self.exactly(length), head }
    }

    /// The rest, until the end of the stream.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        self.exactly(self.buffered())
    }

    /// A whole answer, to the end of the connection, with as much body as its head says.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let (head, body) = (self.head(), self.rest());
        let length = head.get("Content-Length").expect("an answer says its length");
        assert_eq!(length, body.len().to_string());
        Answer { head, body }
    }
}

/// Sends a request on a connection of its own, and gives the whole answer.
#[track_caller]
pub fn ask(address: SocketAddr, head: &str) -> Answer {
    Wire::request(address, &format!("{head}Connection: close\r\n")).answer()
}

/// The head of a request that opens a WebSocket, without the empty line at its end.
pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
}
