//! The server ends of a bench's sockets, kept open while contenders come and go.
//!
//! They lie in the table of a ring, where they cost no file descriptor. Every contender gets a
//! descriptor of its own for each, and closes it when it is dropped; the sockets stay.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use io_uring::{IoUring, opcode, types::Fixed};

/// Sockets in a ring's table.
pub struct Keeper {
    ring: IoUring,
    kept: u32,
}

impl Keeper {
    /// Room for so many sockets: at most the limit of open files.
    pub fn new(places: u32) -> io::Result<Keeper> {
        let ring = IoUring::new(8)?;
        ring.submitter().register_files_sparse(places)?;
        Ok(Keeper { ring, kept: 0 })
    }

    /// Keeps a socket open.
    pub fn keep(&mut self, socket: OwnedFd) -> io::Result<()> {
        self.ring.submitter().register_files_update(self.kept, &[socket.as_raw_fd()])?;
        self.kept += 1;
        Ok(())
    }

    /// A descriptor for every socket, in the order in which they came.
    pub fn hand_out(&mut self) -> io::Result<Vec<OwnedFd>> {
        (0..self.kept).map(|place| self.install(place)).collect()
    }

    fn install(&mut self, place: u32) -> io::Result<OwnedFd> {
        let entry = opcode::FixedFdInstall::new(Fixed(place), 0).build();
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        self.ring.submit_and_wait(1)?;
        let answer = self.ring.completion().next().expect("one answer was waited for");
        if answer.result() < 0 {
            return Err(io::Error::from_raw_os_error(-answer.result()));
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(answer.result()) })
    }
}
