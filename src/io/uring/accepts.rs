//! Which accepts wait at which listener.
//!
//! Every accept under way holds a place in the table, so they are shared out: each listener has an
//! equal part of [`ACCEPTS_IN_FLIGHT`], and no more than its part of the room that is left. Where
//! the table fills up while places are held for listeners that nobody comes to, those accepts are
//! taken back and shared out anew, so that the last place that a listener may keep from the
//! others is one.
#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use super::{
    first_with_room,
    ring::{Request, Ring},
    user_data::{Kind, UserData},
};
use crate::{
    io::Listener,
    limits::{ACCEPTS_IN_FLIGHT, LISTENERS_MAX},
};

/// The listeners of a shard, and the accepts that wait at them.
pub(super) struct Accepts {
    listeners: Vec<Waiting>,
    accepting: bool,
    /// An accept failed for want of something, and a pause is under way.
    paused: bool,
    /// Whether there was an accept ever.
    has_accepted: bool,
}

/// A listener, and how many accepts wait there, over all rings.
struct Waiting {
    socket: OwnedFd,
    accepts: u32,
}

impl Accepts {
    /// None yet.
    pub(super) fn new(listeners: Vec<OwnedFd>) -> Accepts {
        assert!(listeners.len() <= LISTENERS_MAX, "{} listeners", listeners.len());
        let waiting = |socket| Waiting { socket, accepts: 0 };
        let listeners = listeners.into_iter().map(waiting).collect();
        Accepts { listeners, accepting: false, paused: false, has_accepted: false }
    }

    /// Starts accepting, or takes back what waits.
    pub(super) fn set(&mut self, accepting: bool, rings: &mut [Ring]) {
        self.accepting = accepting;
        if accepting {
            self.block();
            return self.top_up(rings);
        }
        for index in 0..self.listeners.len() {
            self.take_back(index, rings);
        }
    }

    /// An accept is to wait for a client, not to fail for want of one. Not before the first: another
    /// server may accept from the same sockets until then.
    fn block(&mut self) {
        if !std::mem::replace(&mut self.has_accepted, true) {
            for listener in &self.listeners {
                // What fails here fails at the accept, too, which is tried again.
                let _ = rustix::io::ioctl_fionbio(&listener.socket, false);
            }
        }
    }

    /// The pause after a failed accept is over.
    pub(super) fn go_on(&mut self) {
        self.paused = false;
    }

    /// An accept was answered: says whose it was, and which ring's.
    pub(super) fn on_answer(
        &mut self,
        user_data: UserData,
        result: i32,
        rings: &mut [Ring],
    ) -> (Listener, usize) {
        let (listener, ring) = (user_data.generation() as usize, user_data.slot() as usize);
        self.listeners[listener].accepts -= 1;
        rings[ring].accepts -= 1;
        if result < 0 && !GONE_BY_ITSELF.contains(&-result) && !self.paused {
            // Out of files or memory, most likely. Trying at once would spin.
            self.paused = true;
            rings[ring].queue(Request::Pause(UserData::new(Kind::AcceptAgain, 0, 0)));
        }
        (Listener(listener as u8), ring)
    }

    /// Keeps enough accepts waiting at every listener.
    pub(super) fn top_up(&mut self, rings: &mut [Ring]) {
        let count = self.listeners.len() as u32;
        let share = ACCEPTS_IN_FLIGHT / count.max(1);
        let enough = self.listeners.iter().all(|listener| listener.accepts >= share);
        if !self.accepting || self.paused || enough {
            return;
        }
        let room: u32 = rings.iter().map(Ring::room).sum();
        if room == 0 {
            return self.make_way(rings);
        }
        let part = (room / count).max(1);
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            for _ in 0..share.saturating_sub(listener.accepts).min(part) {
                let Some(index) = first_with_room(rings) else { return };
                let (ring, user_data) = (&mut rings[index], accept_of(number, index));
                ring.queue(Request::Accept(listener.socket.as_raw_fd(), user_data));
                ring.accepts += 1;
                listener.accepts += 1;
            }
        }
    }

    /// Where a listener has no accept for want of room, and others have several, takes those back.
    fn make_way(&self, rings: &mut [Ring]) {
        if self.listeners.iter().any(|listener| listener.accepts == 0) {
            let several = |&index: &usize| self.listeners[index].accepts > 1;
            (0..self.listeners.len()).filter(several).for_each(|it| self.take_back(it, rings));
        }
    }

    fn take_back(&self, listener: usize, rings: &mut [Ring]) {
        for (index, ring) in rings.iter_mut().enumerate().filter(|(_, ring)| ring.accepts > 0) {
            ring.queue(Request::CancelAll(accept_of(listener, index)));
        }
    }
}

/// What an accept carries: the listener where a connection has its generation, and the ring.
fn accept_of(listener: usize, ring: usize) -> UserData {
    UserData::new(Kind::Accept, listener as u32, ring as u32)
}

/// Failed accepts that say nothing about the next one.
const GONE_BY_ITSELF: [i32; 3] = [libc::ECANCELED, libc::ECONNABORTED, libc::EINTR];
