//! One connection under TLS: ciphertext and plaintext in, the other out. Does no IO.
//!
//! Owns no buffer while nothing is under way: what comes in is decrypted in scratch memory of the
//! door's, and only a record that has come in part, or ciphertext that nobody took, is kept here.

use std::sync::Arc;

use rustls::{
    ClientConfig, CommonState, Error, HandshakeKind, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};

use crate::{io::Received, limits::TLS_RECORD_BYTES};

/// Which side of TLS a door is on.
#[derive(Clone)]
pub enum Side {
    /// The side that is connected to.
    Server(Arc<ServerConfig>),
    /// The side that connects, to a server of this name.
    Client(Arc<ClientConfig>, ServerName<'static>),
}

impl Side {
    fn begin(&self) -> Result<End, Error> {
        Ok(match self {
            Side::Server(config) => {
                End::Server(UnbufferedServerConnection::new(Arc::clone(config))?)
            }
            Side::Client(config, name) => {
                let (config, name) = (Arc::clone(config), name.clone());
                End::Client(UnbufferedClientConnection::new(config, name)?)
            }
        })
    }
}

/// A connection's keys.
enum End {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl End {
    fn state(&self) -> &CommonState {
        match self {
            End::Server(end) => end,
            End::Client(end) => end,
        }
    }

    fn read(
        &mut self,
        input: &mut [u8],
        outgoing: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        ended: &mut bool,
    ) -> (usize, Next) {
        match self {
            End::Server(end) => digest(end.process_tls_records(input), outgoing, plain, ended),
            End::Client(end) => digest(end.process_tls_records(input), outgoing, plain, ended),
        }
    }
}

/// A connection's keys, and what is under way on it.
#[derive(Default)]
pub(super) struct Tunnel {
    end: Option<End>,
    /// A record that has come in part.
    incoming: Vec<u8>,
    /// Ciphertext that is to be sent before anything else.
    outgoing: Vec<u8>,
    /// It has failed: nothing more is read or written, but for what is outgoing.
    pub(super) failed: bool,
    /// We have said that we send no more. What the peer says then is passed over: the keys take a
    /// mistake of its for one of ours.
    said_end: bool,
    /// The peer has said that it sends no more.
    pub(super) ended: bool,
    /// In the queue of those that the shard is to read from.
    pub(super) queued: bool,
    /// The shard waits until it can send.
    pub(super) blocked: bool,
    /// Its place among those that keep something; 0 while it keeps nothing.
    pub(super) stopped_at: u64,
}

/// Memory that is filled from the front, and kept.
#[derive(Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    used: usize,
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// At least so many bytes behind what is used.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let needed = self.used + bytes;
        if self.bytes.len() < needed {
            self.bytes.resize(needed.next_power_of_two(), 0);
        }
        &mut self.bytes[self.used..]
    }
}

/// What the keys want next.
enum Next {
    Again,
    Wait,
    Failed,
}

impl Tunnel {
    /// Whether no byte has come yet.
    pub(super) fn is_unborn(&self) -> bool {
        self.end.is_none()
    }

    /// Whether nothing can be said yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.end.as_ref().is_none_or(|end| end.state().is_handshaking())
    }

    /// Whether the handshake that is over went by a ticket.
    pub(super) fn is_resumed(&self) -> bool {
        let kind = self.end.as_ref().and_then(|end| end.state().handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// Ciphertext that is to be sent before anything else.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Bytes that are kept.
    pub(super) fn kept(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity()
    }

    /// What there is to tell a reader besides bytes.
    pub(super) fn verdict(&self) -> Option<Received<'static>> {
        match (self.failed, self.ended) {
            (true, _) => Some(Received::Broken),
            (false, true) => Some(Received::End),
            (false, false) => None,
        }
    }

    /// Fails without a word, and keeps nothing more.
    pub(super) fn give_up(&mut self) {
        self.failed = true;
        (self.incoming, self.outgoing) = (Vec::new(), Vec::new());
    }

    /// So much of what is outgoing was sent.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        self.outgoing = self.outgoing.split_off(bytes);
        self.outgoing.shrink_to_fit();
    }

    /// Keeps ciphertext that nobody took. There can be none before it.
    pub(super) fn keep(&mut self, ciphertext: &[u8]) {
        debug_assert!(self.outgoing.is_empty(), "it would overtake");
        if !self.failed {
            self.outgoing = ciphertext.to_vec();
        }
    }

    /// Ends it with an answer that is no ciphertext, to a peer that does not speak TLS.
    pub(super) fn answer_plainly(&mut self, answer: &[u8]) {
        self.outgoing = answer.to_vec();
        self.failed = true;
    }

    /// Takes in what came, and appends what it says to `plain`. A peer that breaks the rules leaves
    /// it failed, with an alert in what is outgoing.
    pub(super) fn hear(
        &mut self,
        side: &Side,
        bytes: &[u8],
        buffer: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) {
        if self.said_end || self.failed {
            return;
        }
        buffer.clear();
        buffer.append(&mut self.incoming);
        buffer.extend_from_slice(bytes);
        self.incoming = Vec::new();
        if self.end.is_none() {
            self.end = side.begin().ok();
        }
        let Some(end) = &mut self.end else {
            self.failed = true;
            return;
        };
        let (outgoing, mut at) = (&mut self.outgoing, 0);
        loop {
            let (discard, next) = end.read(&mut buffer[at..], outgoing, plain, &mut self.ended);
            at += discard;
            match next {
                Next::Again => {}
                Next::Wait => break,
                Next::Failed => {
                    self.failed = true;
                    break;
                }
            }
        }
        // What comes behind a mistake is not read, only the alert fetched: without one to fetch the
        // keys would look at input that is gone.
        while self.failed && end.state().wants_write() {
            if let (_, Next::Failed) = end.read(&mut [], outgoing, plain, &mut self.ended) {
                break;
            }
        }
        if !self.failed && !self.ended && at < buffer.len() {
            self.incoming = buffer[at..].to_vec();
        }
    }

    /// Encrypts up to `most` bytes into records behind what is in `out`. Returns how many they were;
    /// `None` if that cannot be done any more.
    pub(super) fn encrypt(
        &mut self,
        bytes: &[u8],
        most: usize,
        out: &mut Scratch,
    ) -> Option<usize> {
        let bytes = &bytes[..bytes.len().min(most)];
        for record in bytes.chunks(TLS_RECORD_BYTES) {
            self.write(Some(record), out)?;
        }
        Some(bytes.len())
    }

    /// Appends the word that nothing more will be sent.
    pub(super) fn encrypt_end(&mut self, out: &mut Scratch) -> Option<()> {
        self.said_end = true;
        self.incoming = Vec::new();
        self.write(None, out)
    }

    /// Writes one record, or the end, behind whatever the keys have to say before.
    fn write(&mut self, record: Option<&[u8]>, out: &mut Scratch) -> Option<()> {
        loop {
            let (discard, next) = match self.end.as_mut()? {
                End::Server(end) => say(end.process_tls_records(&mut self.incoming), record, out),
                End::Client(end) => say(end.process_tls_records(&mut self.incoming), record, out),
            };
            self.incoming.drain(..discard);
            match next {
                Next::Again => {}
                Next::Wait => return Some(()),
                Next::Failed => return None,
            }
        }
    }
}

/// Does what the keys want of somebody who reads.
fn digest<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
    plain: &mut Vec<u8>,
    ended: &mut bool,
) -> (usize, Next) {
    let UnbufferedStatus { mut discard, state } = status;
    let next = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(Ok(record)) = traffic.next_record() {
                plain.extend_from_slice(record.payload);
                discard += record.discard;
            }
            Next::Again
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let at = outgoing.len();
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                outgoing.resize(at + size.required_size, 0);
                // It has just said that this is enough.
                let _ = data.encode(&mut outgoing[at..]);
            }
            Next::Again
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Next::Again
        }
        Ok(ConnectionState::PeerClosed) => {
            *ended = true;
            Next::Again
        }
        Ok(ConnectionState::Closed) => {
            *ended = true;
            Next::Wait
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Next::Wait,
        // Early data is not offered, and there are no other states.
        Ok(_) | Err(_) => Next::Failed,
    };
    (discard, next)
}

/// Does what the keys want of somebody who writes a record, or the end. [`Next::Wait`]: written.
fn say<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    record: Option<&[u8]>,
    out: &mut Scratch,
) -> (usize, Next) {
    let UnbufferedStatus { discard, state } = status;
    let next = match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let mut needed = 0;
            loop {
                match data.encode(&mut out.room(needed)[..needed]) {
                    Ok(written) => break out.used += written,
                    Err(EncodeError::InsufficientSize(size)) if size.required_size > needed => {
                        needed = size.required_size;
                    }
                    Err(_) => return (discard, Next::Failed),
                }
            }
            Next::Again
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Next::Again
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let mut needed = record.map_or(0, <[u8]>::len) + RECORD_OVERHEAD;
            loop {
                let room = out.room(needed);
                let written = match record {
                    Some(record) => traffic.encrypt(record, room),
                    None => traffic.queue_close_notify(room),
                };
                match written {
                    Ok(written) => {
                        out.used += written;
                        break Next::Wait;
                    }
                    Err(EncryptError::InsufficientSize(size)) if size.required_size > needed => {
                        needed = size.required_size;
                    }
                    Err(_) => break Next::Failed,
                }
            }
        }
        // In a handshake nothing can be said, and what was read was digested.
        _ => Next::Failed,
    };
    (discard, next)
}

/// More than a record is longer than what it holds: header, nonce, tag and kind.
const RECORD_OVERHEAD: usize = 64;
