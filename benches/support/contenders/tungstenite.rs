//! A broadcaster on tokio and tokio-tungstenite: a task per connection, fed with messages whose
//! payload is shared. Read buffers are cut from 128 kB to 4 kB, and what waits together is flushed
//! together.

use std::{net, os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::broadcast::{self, Receiver, Sender},
    task::yield_now,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{Contender, Written};
use crate::support::clients::Clients;

const QUEUED_MAX: usize = 64;

struct Tungstenite {
    runtime: Runtime,
    messages: Sender<Message>,
    written: Arc<Written>,
}

pub fn start(sockets: Vec<OwnedFd>, _: &mut Clients) -> Box<dyn Contender> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (messages, _) = broadcast::channel(QUEUED_MAX);
    let written = Arc::<Written>::default();
    runtime.block_on(async {
        for socket in sockets {
            tokio::spawn(serve(socket, messages.subscribe(), Arc::clone(&written)));
        }
        yield_now().await;
    });
    Box::new(Tungstenite { runtime, messages, written })
}

async fn serve(socket: OwnedFd, mut messages: Receiver<Message>, written: Arc<Written>) {
    let socket = net::TcpStream::from(socket);
    socket.set_nonblocking(true).expect("a socket");
    let stream = TcpStream::from_std(socket).expect("a socket");
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    loop {
        let first = tokio::select! {
            message = messages.recv() => message,
            // Nothing but pings and the end is expected; tungstenite answers both by itself.
            heard = socket.next() => match heard {
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        let Ok(first) = first else { return };
        let mut count = 1;
        socket.feed(first).await.expect("a peer that reads");
        while let Ok(message) = messages.try_recv() {
            socket.feed(message).await.expect("a peer that reads");
            count += 1;
        }
        socket.flush().await.expect("a peer that reads");
        written.add(count);
    }
}

impl Contender for Tungstenite {
    fn deliver(&mut self, payloads: &[Bytes]) {
        self.written.expect(self.messages.receiver_count() * payloads.len());
        for payload in payloads {
            let text = Utf8Bytes::try_from(payload.clone()).expect("text");
            self.messages.send(Message::Text(text)).expect("somebody listens");
        }
        self.runtime.block_on(self.written.all.notified());
    }
}
