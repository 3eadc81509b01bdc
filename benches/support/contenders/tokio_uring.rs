//! A broadcaster on tokio-uring: a task per connection, fed with frames that are encoded already.
//!
//! The ring runs deferred work on the thread (`COOP_TASKRUN`), both queues are large, and a second
//! task reads from each connection, since it must hear of pings and of the end.

use std::{net::TcpStream, os::fd::OwnedFd, rc::Rc, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_uring::{Runtime, builder, uring_builder};

use super::{Contender, Written, frame};
use crate::support::clients::Clients;

const QUEUED_MAX: usize = 64;

struct TokioUring {
    runtime: Runtime,
    frames: Sender<Bytes>,
    written: Arc<Written>,
}

pub fn start(sockets: Vec<OwnedFd>, _: &mut Clients) -> Box<dyn Contender> {
    let mut ring = uring_builder();
    ring.setup_coop_taskrun().setup_taskrun_flag().setup_single_issuer().setup_cqsize(32_768);
    let runtime = Runtime::new(builder().entries(1024).uring_builder(&ring)).expect("a runtime");
    let (frames, _) = broadcast::channel(QUEUED_MAX);
    let written = Arc::<Written>::default();
    runtime.block_on(async {
        for socket in sockets {
            let socket = TcpStream::from(socket);
            socket.set_nonblocking(false).expect("a socket");
            let stream = Rc::new(tokio_uring::net::TcpStream::from_std(socket));
            tokio_uring::spawn(listen(Rc::clone(&stream)));
            tokio_uring::spawn(serve(stream, frames.subscribe(), Arc::clone(&written)));
        }
        tokio::task::yield_now().await;
    });
    Box::new(TokioUring { runtime, frames, written })
}

async fn listen(stream: Rc<tokio_uring::net::TcpStream>) {
    let mut buffer = Vec::with_capacity(256);
    loop {
        let (read, returned) = stream.read(buffer).await;
        if read.is_ok_and(|bytes| bytes == 0) {
            return;
        }
        buffer = returned;
    }
}

async fn serve(
    stream: Rc<tokio_uring::net::TcpStream>,
    mut frames: Receiver<Bytes>,
    written: Arc<Written>,
) {
    while let Ok(first) = frames.recv().await {
        let (bytes, count) = join(first, &mut frames);
        stream.write_all(bytes).await.0.expect("a peer that reads");
        written.add(count);
    }
}

/// What waits behind the first frame leaves with it.
fn join(first: Bytes, frames: &mut Receiver<Bytes>) -> (Bytes, usize) {
    if frames.is_empty() {
        return (first, 1);
    }
    let (mut joined, mut count) = (BytesMut::from(first), 1);
    while let Ok(frame) = frames.try_recv() {
        joined.extend_from_slice(&frame);
        count += 1;
    }
    (joined.freeze(), count)
}

impl Contender for TokioUring {
    fn deliver(&mut self, payloads: &[Bytes]) {
        self.written.expect(self.frames.receiver_count() * payloads.len());
        for payload in payloads {
            self.frames.send(frame(payload)).expect("somebody listens");
        }
        self.runtime.block_on(self.written.all.notified());
    }
}
