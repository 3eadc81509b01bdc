//! How attackers behave: who comes and goes, who dawdles, who talks.
//!
//! All of it is cheap for the attacker: no socket is ever waited for, nothing is parsed.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// An attack.
pub trait Attack: Send {
    /// Attacks so many times. Says how many of them could be made.
    fn strike(&mut self, times: u32) -> u32;
}

/// Comes, says something, and stays a while without listening.
pub struct Comer {
    pub target: SocketAddr,
    pub opening: Vec<u8>,
    /// How many stay at one time; for one more the first leaves.
    pub stay_max: usize,
    /// Bytes that the kernel takes in for each.
    pub receive_bytes: Option<usize>,
    pub there: VecDeque<TcpStream>,
}

impl Attack for Comer {
    fn strike(&mut self, times: u32) -> u32 {
        let come = || connect(self.target, &self.opening, self.receive_bytes).ok();
        let come: Vec<_> = (0..times).map_while(|_| come()).collect();
        let made = come.len() as u32;
        self.there.extend(come);
        let leaving = self.there.len().saturating_sub(self.stay_max);
        self.there.drain(..leaving);
        made
    }
}

/// Many connections that send a byte now and then. An attack is a byte; who was closed comes back.
pub struct Dawdler {
    pub target: SocketAddr,
    pub opening: Vec<u8>,
    pub connections: usize,
    pub there: Vec<TcpStream>,
    pub next: usize,
}

impl Attack for Dawdler {
    fn strike(&mut self, times: u32) -> u32 {
        let lacking = self.connections - self.there.len();
        let come = || connect(self.target, &self.opening, None).ok();
        self.there.extend((0..lacking.min(COME_AT_ONCE)).map_while(|_| come()));
        let mut made = 0;
        for _ in 0..times.min(self.there.len() as u32) {
            self.next = (self.next + 1) % self.there.len();
            match self.there[self.next].write(b"x") {
                Ok(_) => made += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => drop(self.there.swap_remove(self.next)),
            }
            if self.there.is_empty() {
                break;
            }
        }
        made
    }
}

/// A few connections that say a lot, and hear the answers. Who was closed comes back.
pub struct Talker {
    pub target: SocketAddr,
    pub opening: Vec<u8>,
    /// What is said, by its number.
    pub words: fn(u64) -> Vec<u8>,
    pub there: Vec<Option<TcpStream>>,
    pub said: u64,
}

impl Talker {
    /// One that goes on where it is: says so many things on this connection.
    fn say(&mut self, at: usize, times: u32) -> Option<()> {
        if self.there[at].is_none() {
            // It has to be let in before it can talk.
            self.there[at] = connect(self.target, &self.opening, None).ok();
            return None;
        }
        let first = self.said;
        let words: Vec<u8> =
            (first..first + u64::from(times)).flat_map(|number| (self.words)(number)).collect();
        let stream = self.there[at].as_mut()?;
        let mut heard = [0; 16 << 10];
        let is_over = loop {
            match stream.read(&mut heard) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        // What the socket does not take whole is cut, and would be no frame: such a one is left, too.
        let is_said = !is_over && matches!(stream.write(&words), Ok(count) if count == words.len());
        if !is_said {
            self.there[at] = None;
            return None;
        }
        self.said += u64::from(times);
        Some(())
    }
}

impl Attack for Talker {
    fn strike(&mut self, times: u32) -> u32 {
        let each = times.div_ceil(self.there.len() as u32);
        let all = 0..self.there.len();
        all.filter(|&at| self.say(at, each).is_some()).count() as u32 * each
    }
}

/// Connects from the attacker's address, and says this.
fn connect(
    target: SocketAddr,
    opening: &[u8],
    receive_bytes: Option<usize>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), None)?;
    // Who leaves is gone at once, and so is its port.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&SocketAddr::from((ATTACKER, 0)).into())?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
        _ => {}
    }
    let mut stream = TcpStream::from(socket);
    // On loopback a connection stands at once, unless the backlog is full.
    stream.write_all(opening)?;
    Ok(stream)
}

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Connections that a dawdler opens at once.
const COME_AT_ONCE: usize = 50;

/// `EINPROGRESS`.
const IN_PROGRESS: i32 = 115;
