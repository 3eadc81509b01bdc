//! A publisher: one HTTP connection, kept open, on which publications are made at due times.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An HTTP connection to the control listener.
pub struct Publisher {
    stream: TcpStream,
    control: SocketAddr,
    answer: Vec<u8>,
}

impl Publisher {
    /// Connects.
    pub fn connect(control: SocketAddr) -> io::Result<Publisher> {
        let stream = TcpStream::connect(control)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Publisher { stream, control, answer: Vec::new() })
    }

    /// Publishes and waits for the answer. Says whether it was taken.
    pub fn publish(&mut self, channel: &str, payload: &[u8]) -> io::Result<bool> {
        let (host, len) = (self.control, payload.len());
        let mut request = format!(
            "POST /publish/{channel} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(payload);
        self.stream.write_all(&request)?;
        self.answer.clear();
        loop {
            let mut part = [0; 4096];
            let count = match self.stream.read(&mut part) {
                // Where a ring of this thread has work left over, a read with a time-out ends so.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(&part[..count]);
            if let Some(taken) = taken(&self.answer)? {
                return Ok(taken);
            }
        }
    }
}

#[allow(dead_code, reason = "not every bench resumes")]
impl Publisher {
    /// The position in the last answer, if it was one of a publication.
    pub fn position(&self) -> Option<&str> {
        let answer = str::from_utf8(&self.answer).ok()?;
        answer.split_once(r#""position":""#)?.1.split('"').next()
    }
}

/// Whether the answer says so; none if it is not whole.
fn taken(answer: &[u8]) -> io::Result<Option<bool>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).map_err(io::Error::other)?;
    let httparse::Status::Complete(head) = parsed else { return Ok(None) };
    let mut lengths =
        response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
    let whole = answer.len() >= head + length.unwrap_or(0usize);
    Ok(whole.then_some(response.code == Some(200)))
}
