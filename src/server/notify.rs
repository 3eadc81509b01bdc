//! Telling the service manager how it goes (`sd_notify`): ready, reloading, stopping, alive.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
};

use rustix::time::{ClockId, clock_gettime};

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub struct Manager {
    way: Option<(UnixDatagram, SocketAddr)>,
    /// Whether it ends us when we do not say that we live.
    watches: bool,
}

impl Manager {
    /// The one that the environment tells of. One that cannot be reached is none: it is no reason not
    /// to serve.
    pub fn from_environment() -> Manager {
        let way = env::var_os("NOTIFY_SOCKET").and_then(|name| way_to(&name));
        let is_for_us =
            env::var("WATCHDOG_PID").map_or(true, |pid| pid == process::id().to_string());
        let watches = is_for_us && env::var_os("WATCHDOG_USEC").is_some();
        Manager { way, watches }
    }

    /// Whether it is to be told that we live.
    pub fn watches(&self) -> bool {
        self.watches && self.way.is_some()
    }

    /// Everything serves.
    pub fn tell_ready(&self) {
        self.tell("READY=1\nSTATUS=serving\n");
    }

    /// Settings are read again; ready follows.
    pub fn tell_reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\n"));
    }

    /// A drain goes on, with so many connections left.
    pub fn tell_stopping(&self, left: u64) {
        self.tell(&format!("STOPPING=1\nSTATUS=draining, {left} connections left\n"));
    }

    /// Every shard turns.
    pub fn tell_alive(&self) {
        self.tell("WATCHDOG=1\n");
    }

    fn tell(&self, text: &str) {
        if let Some((socket, manager)) = &self.way {
            let _ = socket.send_to_addr(text.as_bytes(), manager);
        }
    }
}

/// A name that begins with `@` is an abstract one.
fn way_to(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let manager = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        _ => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    // A manager that does not read must not stop us.
    socket.set_nonblocking(true).ok()?;
    Some((socket, manager.ok()?))
}
