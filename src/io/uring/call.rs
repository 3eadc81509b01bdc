//! Single calls on the table: putting a socket into it, and asking who is at the other end.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use io_uring::{opcode, squeue::Entry, types::Fixed};

use crate::io::uring::ring::Ring;

impl Ring {
    /// Puts a socket into a free place of the table, which the kernel chooses, and returns the
    /// place. Accepts under way choose from the same table, so the two never collide.
    pub(super) fn install(&mut self, socket: &impl AsFd) -> io::Result<u32> {
        let mut descriptor = socket.as_fd().as_raw_fd();
        let descriptors = &raw mut descriptor;
        let entry = opcode::FilesUpdate::new(descriptors, 1).offset(INDEX_ALLOC).build();
        // SAFETY: the kernel reads and writes `descriptor`, which lives until the end of this
        // function, and updating a table waits for nobody.
        let updated = unsafe { self.call(entry) };
        match updated {
            1 => Ok(descriptor as u32),
            0 => Err(io::Error::from_raw_os_error(libc::ENFILE)),
            result => Err(io::Error::from_raw_os_error(-result)),
        }
    }

    /// The address of the peer of the connection at this place.
    pub(super) fn peer(&mut self, place: u32) -> Option<SocketAddr> {
        self.peer_by_command(place).or_else(|| self.peer_by_descriptor(place))
    }

    /// Asks through the ring: Linux 6.7 and later.
    fn peer_by_command(&mut self, place: u32) -> Option<SocketAddr> {
        let mut name = [0u8; NAME_BYTES];
        let entry = peer_name_entry(place, &mut name);
        // SAFETY: the kernel writes into `name`, which lives until the end of this function, and
        // reading a socket's option waits for nobody.
        let length = unsafe { self.call(entry) };
        let length = usize::try_from(length).ok()?;
        socket_address(name.get(..length)?)
    }

    /// Asks through a descriptor made for the purpose: Linux 6.8 and later, so this serves only
    /// where the first way is filtered out.
    fn peer_by_descriptor(&mut self, place: u32) -> Option<SocketAddr> {
        let entry = opcode::FixedFdInstall::new(Fixed(place), 0).build();
        // SAFETY: the entry points to no memory, and installing waits for nobody.
        let descriptor = unsafe { self.call(entry) };
        if descriptor < 0 {
            return None;
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        socket2::SockRef::from(&descriptor).peer_addr().ok()?.as_socket()
    }
}

/// `getsockopt(SO_PEERNAME)` as a request, which the crate cannot build.
fn peer_name_entry(place: u32, name: &mut [u8; NAME_BYTES]) -> Entry {
    let request = SocketOption {
        opcode: opcode::UringCmd16::CODE,
        flags: FIXED_FILE,
        place,
        command: GET_SOCKET_OPTION,
        level: libc::SOL_SOCKET as u32,
        name: libc::SO_PEERNAME as u32,
        value_length: NAME_BYTES as u32,
        value: name.as_mut_ptr() as u64,
        ..SocketOption::default()
    };
    // SAFETY: both are 64 bytes of plain numbers without padding, in the layout of
    // `io_uring_sqe`; `Entry` is `repr(C)` around it.
    unsafe { mem::transmute::<SocketOption, Entry>(request) }
}

/// `struct io_uring_sqe`, with the names of its fields in a socket command.
#[derive(Default)]
#[repr(C)]
struct SocketOption {
    opcode: u8,
    flags: u8,
    priority: u16,
    place: u32,
    command: u32,
    reserved: u32,
    level: u32,
    name: u32,
    length: u32,
    command_flags: u32,
    user_data: u64,
    buffer: u16,
    personality: u16,
    value_length: u32,
    value: u64,
    reserved_too: u64,
}

/// Reads a `sockaddr_in` or `sockaddr_in6` as the kernel writes it.
fn socket_address(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    let address = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*name.get(4..)?.first_chunk::<4>()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Room for a `sockaddr_storage`.
const NAME_BYTES: usize = 128;
/// `IOSQE_FIXED_FILE`.
const FIXED_FILE: u8 = 1;
/// `SOCKET_URING_OP_GETSOCKOPT`.
const GET_SOCKET_OPTION: u32 = 2;
/// `IORING_FILE_INDEX_ALLOC`: any free place.
const INDEX_ALLOC: i32 = -1;

const _: () = assert!(mem::size_of::<SocketOption>() == 64 && mem::size_of::<Entry>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses of both families are read; anything short or foreign is not an address.
    #[test]
    fn a_socket_address_is_read_as_the_kernel_writes_it() {
        let mut v4 = [0u8; 16];
        v4[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        v4[2..8].copy_from_slice(&[0x1f, 0x90, 192, 0, 2, 7]);
        assert_eq!(socket_address(&v4), Some("192.0.2.7:8080".parse().unwrap()));
        let mut v6 = [0u8; 28];
        v6[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        v6[2..4].copy_from_slice(&[0, 80]);
        v6[23] = 1;
        assert_eq!(socket_address(&v6), Some("[::1]:80".parse().unwrap()));
        assert_eq!(socket_address(&v4[..7]), None);
        assert_eq!(socket_address(&[0, 0, 0, 0]), None);
        assert_eq!(socket_address(&[]), None);
    }
}
