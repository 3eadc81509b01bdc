//! HTTP by a Unix socket.

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
    },
};

/// Connects to the socket at this path, whatever host a URL names.
#[derive(Debug)]
pub struct ToSocket(pub PathBuf);

impl Connector for ToSocket {
    type Out = BySocket;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<BySocket>, Error> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A full backlog is waited for as long as one may write.
        socket.set_write_timeout(within(details.timeout))?;
        let connected = socket.connect(&SockAddr::unix(&self.0)?);
        connected.map_err(|error| in_time(error, details.timeout))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(BySocket { stream: OwnedFd::from(socket).into(), buffers }))
    }
}

/// Asks nobody where a host is: nothing connects there.
#[derive(Debug)]
pub struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

/// A connection to such a socket.
#[derive(Debug)]
pub struct BySocket {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for BySocket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(within(timeout))?;
        let written = self.stream.write_all(&self.buffers.output()[..amount]);
        written.map_err(|error| in_time(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(within(timeout))?;
        let read = self.stream.read(self.buffers.input_append_buf());
        let amount = read.map_err(|error| in_time(error, timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        let looked = self.stream.set_nonblocking(true).and_then(|()| self.stream.read(&mut [0]));
        // Neither an end nor bytes that nobody asked for.
        let waits = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        waits && self.stream.set_nonblocking(false).is_ok()
    }
}

/// How long the kernel is to wait; never nothing, which it takes for no limit.
fn within(timeout: NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|left| (*left).max(Duration::from_millis(1)))
}

fn in_time(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
