//! Where frames, chunks and events begin and end in what a server sends, and where in them the
//! payload is.
//!
//! Boundaries only: nothing is checked, and what is not understood passes unchanged. A chunked body
//! is taken out of its chunks, and each event goes on as a chunk of its own. Events end with an empty
//! line after LF or CR LF.

use std::mem;

use httparse::{EMPTY_HEADER, Response, Status, parse_chunk_size};

/// What goes on as one.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes without a publication.
    Control(Vec<u8>),
    /// The last bytes, after which no publication may come.
    End(Vec<u8>),
    Publication(Publication),
}

/// One publication and what is around it.
#[derive(Clone, Debug)]
pub struct Publication {
    /// What may be changed: the payload of a frame, or the last data line of an event.
    pub payload: Vec<u8>,
    envelope: Envelope,
}

#[derive(Clone, Debug)]
enum Envelope {
    Frame { first_byte: u8 },
    Event { is_chunk: bool, before: Vec<u8>, after: Vec<u8> },
}

impl Publication {
    /// Appends it in the form in which it came.
    pub fn write(&self, out: &mut Vec<u8>) {
        let payload = &self.payload;
        match &self.envelope {
            Envelope::Frame { first_byte } => {
                out.push(*first_byte);
                match payload.len() {
                    len @ 0..126 => out.push(len as u8),
                    len @ 126..=0xffff => {
                        out.push(126);
                        out.extend((len as u16).to_be_bytes());
                    }
                    len => {
                        out.push(127);
                        out.extend((len as u64).to_be_bytes());
                    }
                }
                out.extend(payload);
            }
            Envelope::Event { is_chunk, before, after } => {
                write_event(*is_chunk, &[before, payload, after], out);
            }
        }
    }
}

/// Takes the bytes of one connection apart.
#[derive(Default)]
pub struct Splitter {
    form: Form,
    /// Bytes of which no piece has been made.
    bytes: Vec<u8>,
    /// Content of a chunked body of which no piece has been made.
    content: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Head,
    Frames,
    Events,
    Chunks,
    /// Neither of these, or the end has come: it passes as it is.
    Through,
}

impl Splitter {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next piece that is whole.
    pub fn next_piece(&mut self) -> Option<Piece> {
        match self.form {
            Form::Head => self.next_head(),
            Form::Frames => self.next_frame(),
            Form::Events => Some(event(take_event(&mut self.bytes)?, false)),
            Form::Chunks => self.next_chunked(),
            Form::Through if self.bytes.is_empty() => None,
            Form::Through => Some(Piece::Control(mem::take(&mut self.bytes))),
        }
    }

    /// What is left when the server has ended. Content of half a chunk or event is worth nothing.
    pub fn rest(&mut self) -> Vec<u8> {
        self.content.clear();
        mem::take(&mut self.bytes)
    }

    fn next_head(&mut self) -> Option<Piece> {
        let mut headers = [EMPTY_HEADER; 64];
        let mut head = Response::new(&mut headers);
        match head.parse(&self.bytes) {
            Ok(Status::Partial) => None,
            Err(_) => {
                self.form = Form::Through;
                self.next_piece()
            }
            Ok(Status::Complete(len)) => {
                self.form = form(&head);
                Some(Piece::Control(self.bytes.drain(..len).collect()))
            }
        }
    }

    fn next_frame(&mut self) -> Option<Piece> {
        let (head_len, payload_len) = match self.bytes.get(..2)? {
            [_, 126] => (4, number(self.bytes.get(2..4)?)),
            [_, 127] => (10, number(self.bytes.get(2..10)?)),
            [_, second] => (2, (second & 0x7f).into()),
            _ => return None,
        };
        let first_byte = self.bytes[0];
        let frame_len = head_len + payload_len;
        if self.bytes.len() < frame_len {
            return None;
        }
        let mut frame: Vec<u8> = self.bytes.drain(..frame_len).collect();
        Some(match first_byte {
            // What `stentor.v1` says besides publications.
            WHOLE_TEXT if frame[head_len..].starts_with(b"{\"type\":") => Piece::Control(frame),
            WHOLE_TEXT | WHOLE_BINARY => {
                let payload = frame.split_off(head_len);
                Piece::Publication(Publication {
                    payload,
                    envelope: Envelope::Frame { first_byte },
                })
            }
            CLOSE => Piece::End(frame),
            _ => Piece::Control(frame),
        })
    }

    fn next_chunked(&mut self) -> Option<Piece> {
        loop {
            if let Some(found) = take_event(&mut self.content) {
                return Some(event(found, true));
            }
            let Ok(Status::Complete((head_len, size))) = parse_chunk_size(&self.bytes) else {
                return None;
            };
            if size == 0 {
                self.form = Form::Through;
                return Some(Piece::End(mem::take(&mut self.bytes)));
            }
            let end = head_len + size as usize;
            let chunk = self.bytes.get(..end + b"\r\n".len())?;
            self.content.extend_from_slice(&chunk[head_len..end]);
            self.bytes.drain(..end + b"\r\n".len());
        }
    }
}

/// How what follows a head is to be read.
fn form(head: &Response<'_, '_>) -> Form {
    let has = |name: &str, value: &str| {
        head.headers.iter().any(|header| {
            let found = header.value.to_ascii_lowercase();
            header.name.eq_ignore_ascii_case(name) && found.starts_with(value.as_bytes())
        })
    };
    match head.code {
        Some(101) => Form::Frames,
        Some(102..=199 | 100) => Form::Head,
        _ if !has("Content-Type", "text/event-stream") => Form::Through,
        _ if has("Transfer-Encoding", "chunked") => Form::Chunks,
        _ => Form::Events,
    }
}

/// Takes everything up to and including the first empty line.
fn take_event(content: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut line_start = 0;
    for (at, _) in content.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        if matches!(content[line_start..at], [] | [b'\r']) {
            return Some(content.drain(..=at).collect());
        }
        line_start = at + 1;
    }
    None
}

/// An event as a piece. The payload is the value of its last data line.
fn event(text: Vec<u8>, is_chunk: bool) -> Piece {
    let mut line_start = 0;
    let mut value = None;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b"data:") {
            let space = usize::from(line[b"data:".len()..].starts_with(b" "));
            let ends = line.iter().rev().take_while(|byte| b"\r\n".contains(byte)).count();
            value = Some(line_start + b"data:".len() + space..line_start + line.len() - ends);
        }
        line_start += line.len();
    }
    let is_notice = text.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"event: gap"));
    let Some(value) = value.filter(|_| !is_notice) else {
        let mut out = Vec::new();
        write_event(is_chunk, &[&text], &mut out);
        return Piece::Control(out);
    };
    let (before, after) = (text[..value.start].to_vec(), text[value.end..].to_vec());
    let payload = text[value].to_vec();
    Piece::Publication(Publication {
        payload,
        envelope: Envelope::Event { is_chunk, before, after },
    })
}

fn write_event(is_chunk: bool, parts: &[&[u8]], out: &mut Vec<u8>) {
    let text = parts.concat();
    if is_chunk {
        out.extend(format!("{:x}\r\n", text.len()).bytes());
    }
    out.extend(text);
    if is_chunk {
        out.extend(b"\r\n");
    }
}

fn number(big_endian: &[u8]) -> usize {
    big_endian.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

const WHOLE_TEXT: u8 = 0x81;
const WHOLE_BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
