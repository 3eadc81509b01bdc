//! Accepts control connections and serves them, a bounded number, each within bounded time.
//!
//! One above the limit is told so and closed. A peer that stalls is dropped: while it sends its
//! head by hyper's timer, while it sends a body by [`body`](super::body), and while it does not
//! read its answer by the kernel.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::Settings;
use crate::{
    limits::{CONTROL_BUFFER_BYTES, CONTROL_REFUSALS_MAX, DISCARD_SECONDS_MAX},
    logs::limited,
};

/// How clients come.
pub(super) struct Way {
    pub listener: TcpListener,
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
                Ok((stream, _)) => doors.admit(stream, &router, settings, stopping.subscribe()),
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
        stream: TcpStream,
        router: &Router,
        settings: &Settings,
        stopping: watch::Receiver<bool>,
    ) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            let router = router.clone();
            let (head_timeout, tls) = (settings.head_timeout, self.tls.clone());
            self.connections.spawn(async move {
                begin_connection(stream, tls, router, head_timeout, stopping).await;
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            // Saying so by TLS would cost a handshake.
            if self.tls.is_none() {
                self.connections.spawn(refuse(stream, place));
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
    match timeout(head_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve_connection(stream, router, head_timeout, stopping).await,
        Ok(Err(error)) => {
            limited!(debug, "control handshake", %error, "a handshake of a control client failed");
        }
        Err(_) => {}
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

/// Tells a connection that there is no place for it.
async fn refuse(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
        content-length: 74\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
        the control listener has all the connections it allows; try again later.\r\n";
    let told = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        // Closing with unread input could destroy the answer.
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(Duration::from_secs(DISCARD_SECONDS_MAX), told).await;
}
