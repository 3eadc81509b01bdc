//! Accepts control connections and serves them, a bounded number, each within bounded time.
//!
//! One above the limit is told so and closed. A peer that stalls is dropped: while it sends its
//! head by hyper's timer, while it sends a body by [`body`](super::body), and while it does not
//! read its answer by the kernel, or, on a Unix socket, by [`Patient`].

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Settings, patient::Patient};
use crate::{
    limits::{CONTROL_BUFFER_BYTES, CONTROL_REFUSALS_MAX, DISCARD_SECONDS_MAX},
    logs::limited,
};

/// Where clients connect.
pub enum Listener {
    /// At an IP address.
    Tcp(TcpListener),
    /// At the path of a Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// That of a socket which listens. Wants a tokio runtime with IO.
    pub fn adopt(socket: OwnedFd) -> io::Result<Listener> {
        let kind = SockRef::from(&socket);
        kind.set_nonblocking(true)?;
        match kind.local_addr()?.is_unix() {
            true => UnixListener::from_std(socket.into()).map(Listener::Unix),
            false => TcpListener::from_std(socket.into()).map(Listener::Tcp),
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => Ok(Stream::Tcp(listener.accept().await?.0)),
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// What a client came by.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How clients come.
pub(super) struct Way {
    pub listener: Listener,
    pub tls: Option<TlsAcceptor>,
    /// Whether they are accepted.
    pub accepting: watch::Receiver<bool>,
}

/// Serves `router` to whoever connects, until `stop`.
pub(super) async fn serve(
    Way { listener, tls, mut accepting }: Way,
    router: Router,
    settings: &Settings,
    stop: impl Future<Output = ()>,
) {
    let (stopping, _) = watch::channel(false);
    let mut doors = Doors {
        tls,
        places: Arc::new(Semaphore::new(settings.connections_max)),
        refusals: Arc::new(Semaphore::new(CONTROL_REFUSALS_MAX)),
        connections: JoinSet::new(),
    };
    tokio::pin!(stop);
    loop {
        let is_accepting = *accepting.borrow_and_update();
        tokio::select! {
            () = &mut stop => break,
            Ok(()) = accepting.changed() => {}
            Some(_) = doors.connections.join_next() => {}
            accepted = listener.accept(), if is_accepting => match accepted {
                Ok(stream) => doors.admit(stream, &router, settings, stopping.subscribe()),
                Err(error) => pause(error).await,
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all_ended = async { while doors.connections.join_next().await.is_some() {} };
    // Whatever is still under way is dropped with the set.
    let _ = timeout(settings.stop_timeout, all_ended).await;
}

/// Accepting fails for one connection (it was reset) or for lack of descriptors or memory, which
/// comes back.
async fn pause(error: io::Error) {
    limited!(warn, "control accept", %error, "the control listener could not accept a connection");
    sleep(Duration::from_millis(100)).await;
}

struct Doors {
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    connections: JoinSet<()>,
}

impl Doors {
    fn admit(
        &mut self,
        stream: Stream,
        router: &Router,
        settings: &Settings,
        stopping: watch::Receiver<bool>,
    ) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            let router = router.clone();
            let (head_timeout, tls) = (settings.head_timeout, self.tls.clone());
            self.connections.spawn(async move {
                match stream {
                    Stream::Tcp(stream) => {
                        begin_connection(stream, tls, router, head_timeout, stopping).await;
                    }
                    Stream::Unix(stream) => {
                        let stream = Patient::new(stream, head_timeout);
                        serve_connection(stream, router, head_timeout, stopping).await;
                    }
                }
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            // Saying so by TLS would cost a handshake.
            if self.tls.is_none() {
                self.connections.spawn(async move {
                    match stream {
                        Stream::Tcp(stream) => tell(stream, FULL).await,
                        Stream::Unix(stream) => tell(stream, FULL).await,
                    }
                    drop(place);
                });
            }
        }
    }
}

/// Begins TLS, where it is spoken, and serves. A handshake has as long as a head.
async fn begin_connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    head_timeout: Duration,
    stopping: watch::Receiver<bool>,
) {
    // Both only fail on a socket that is broken, which reading will tell.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(head_timeout));
    let Some(tls) = tls else {
        return serve_connection(stream, router, head_timeout, stopping).await;
    };
    if let Ok(Some(stream)) = timeout(head_timeout, begin_tls(stream, tls)).await {
        serve_connection(stream, router, head_timeout, stopping).await;
    }
}

/// The handshake, unless it fails or HTTP is spoken instead.
async fn begin_tls(stream: TcpStream, tls: TlsAcceptor) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    let peeked = stream.peek(&mut first).await;
    // A handshake begins with the number of its kind of record, which is no letter.
    if peeked.is_ok_and(|count| count > 0) && first[0].is_ascii_uppercase() {
        tell(stream, SPEAK_TLS).await;
        return None;
    }
    match tls.accept(stream).into_fallible().await {
        Ok(stream) => Some(stream),
        Err((error, stream)) => {
            limited!(debug, "control handshake", %error, "a handshake of a control client failed");
            // A request that came behind the handshake could destroy the alert.
            tell(stream, b"").await;
            None
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    head_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(CONTROL_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        // How a connection ended is its peer's affair.
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Tells a connection why it is not served, and ends it.
async fn tell(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
    let told = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // Closing with unread input could destroy the answer.
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(Duration::from_secs(DISCARD_SECONDS_MAX), told).await;
}

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    content-length: 74\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
    the control listener has all the connections it allows; try again later.\r\n";

const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 54\r\nconnection: close\r\n\r\n\
    this port speaks TLS; use https:// instead of http://\n";
