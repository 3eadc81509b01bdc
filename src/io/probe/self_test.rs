//! Proof that a try-send on this kernel ends inside the call and tells the exact count.
#![forbid(unsafe_code)]

use std::{
    io::{self, Read},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use crate::{
    ids::Slot,
    io::{Event, Exception, Kernel, Listener, Outcome, Send, uring::Uring},
};

/// Runs the test; `Err` says what was seen instead of what is needed.
pub(super) fn run(uring: &mut Uring) -> Result<(), String> {
    let (near, mut far) = pair().map_err(|error| format!("no loopback connection: {error}"))?;
    let slot = uring.adopt(near.into()).map_err(|error| format!("no direct slot: {error}"))?;
    wait_for(uring, Event::Accepted(slot, Listener::default()))?;
    let whole = send(uring, slot, GREETING)?;
    if whole != GREETING.len() {
        return Err(format!("a send of {} bytes took {whole}", GREETING.len()));
    }
    let taken = GREETING.len() + fill(uring, slot)?;
    uring.close(slot);
    wait_for(uring, Event::Closed(slot))?;
    let mut got = Vec::new();
    far.read_to_end(&mut got).map_err(|error| format!("a close sends no end: {error}"))?;
    if got.len() != taken || !got.starts_with(GREETING) {
        return Err(format!("{taken} bytes were reported as sent, and {} arrived", got.len()));
    }
    Ok(())
}

/// Sends until the socket takes nothing more; returns the bytes taken.
fn fill(uring: &mut Uring, slot: Slot) -> Result<usize, String> {
    let bytes = vec![b'.'; 1 << 20];
    let (mut taken, mut cut) = (0, false);
    for _ in 0..TRIES {
        match send(uring, slot, &bytes)? {
            0 if cut => return Ok(taken),
            0 => return Err("a full socket took nothing at all of the first send".into()),
            count => {
                cut |= count < bytes.len();
                taken += count;
            }
        }
    }
    Err(format!("a socket that nobody reads took {taken} bytes and is not full"))
}

/// How many of the bytes one send took.
fn send(uring: &mut Uring, slot: Slot, bytes: &[u8]) -> Result<usize, String> {
    let mut exceptions = Vec::new();
    uring.send_batch(&[Send { slot, bytes }], &mut exceptions);
    match exceptions[..] {
        [] => Ok(bytes.len()),
        [Exception { index: 0, outcome: Outcome::Short(count) }] => Ok(count),
        _ => Err(format!("a send ended with {exceptions:?}")),
    }
}

fn wait_for(uring: &mut Uring, wanted: Event) -> Result<(), String> {
    let mut events = Vec::new();
    for _ in 0..TRIES {
        uring.events(&mut events);
        if events.contains(&wanted) {
            return Ok(());
        }
        uring.wait(Some(PATIENCE / TRIES)).map_err(|error| format!("waiting failed: {error}"))?;
    }
    Err(format!("{wanted:?} never came"))
}

/// Two ends of a connection, narrow, so that it is soon full.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    SockRef::from(&listener).set_recv_buffer_size(4096)?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    SockRef::from(&near).set_send_buffer_size(8192)?;
    let (far, _) = listener.accept()?;
    far.set_read_timeout(Some(PATIENCE))?;
    Ok((near, far))
}

const GREETING: &[u8] = b"stentor";
/// Sends or waits before the test gives up.
const TRIES: u32 = 100;
/// How long the whole of a wait may take.
const PATIENCE: Duration = Duration::from_secs(5);
