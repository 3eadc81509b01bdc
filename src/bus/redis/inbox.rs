//! Messages of Pub/Sub between the client's task, which cannot wait, and the input.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

/// Bytes that may wait here, each message with [`MESSAGE_BYTES`] of its own. It is more than the
/// client takes from the socket in one go (a mebibyte, or one message that is larger), and the input
/// takes everything after each of those: only messages that are large together are dropped here.
const BYTES_MAX: usize = 64 << 20;

/// What a message costs besides its text.
const MESSAGE_BYTES: usize = 128;

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The pattern that it came by; without one it came by its channel.
    pub pattern: Option<Bytes>,
    /// Where it was published.
    pub channel: Bytes,
    /// What was published.
    pub payload: Bytes,
}

/// What has come.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order in which it came.
    pub messages: VecDeque<Message>,
    /// Messages that were dropped, because too much waited.
    pub dropped: u64,
    /// Whether nothing will come any more.
    pub is_over: bool,
    bytes: usize,
}

/// Takes messages in without waiting, within [`BYTES_MAX`].
#[derive(Default)]
pub(super) struct Inbox {
    batch: Mutex<Batch>,
    arrived: Notify,
}

impl Inbox {
    /// Something has come on the connection.
    pub(super) fn push(&self, pushed: PushInfo) {
        let PushInfo { kind, data } = pushed;
        let mut batch = self.lock();
        match kind {
            PushKind::Message | PushKind::PMessage => match Message::new(kind, data) {
                Some(message) => batch.push(message),
                None => batch.dropped += 1,
            },
            PushKind::Disconnection => batch.is_over = true,
            _ => return,
        }
        drop(batch);
        self.arrived.notify_one();
    }

    /// Waits until something is there, and takes all of it. Safe to be dropped half way.
    pub(super) async fn take(&self) -> Batch {
        loop {
            let batch = std::mem::take(&mut *self.lock());
            if !batch.messages.is_empty() || batch.dropped > 0 || batch.is_over {
                return batch;
            }
            // One permit is kept, so that what came since we looked is not missed.
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn push(&mut self, message: Message) {
        let bytes = message.channel.len() + message.payload.len() + MESSAGE_BYTES;
        if self.bytes + bytes > BYTES_MAX && !self.messages.is_empty() {
            self.dropped += 1;
            return;
        }
        self.bytes += bytes;
        self.messages.push_back(message);
    }
}

impl Message {
    fn new(kind: PushKind, data: Vec<Value>) -> Option<Message> {
        let mut texts = data.into_iter().map(|value| match value {
            Value::BulkString(text) => Some(Bytes::from(text)),
            Value::SimpleString(text) => Some(Bytes::from(text)),
            _ => None,
        });
        let pattern = match kind {
            PushKind::PMessage => Some(texts.next()??),
            _ => None,
        };
        Some(Message { pattern, channel: texts.next()??, payload: texts.next()?? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, len: usize) -> PushInfo {
        let data = [channel.as_bytes().to_vec(), vec![7; len]].map(Value::BulkString).into();
        PushInfo { kind: PushKind::Message, data }
    }

    /// What does not fit is dropped and counted, the newest first; there is room again once what
    /// waited was taken.
    #[tokio::test]
    async fn what_waits_is_bounded() {
        let inbox = Inbox::default();
        let half = BYTES_MAX / 2 - MESSAGE_BYTES - 1;
        for channel in ["a", "b", "c", "d"] {
            inbox.push(message(channel, half));
        }
        let channels = |batch: &Batch| {
            batch.messages.iter().map(|message| message.channel.clone()).collect::<Vec<_>>()
        };
        let batch = inbox.take().await;
        assert_eq!((channels(&batch), batch.dropped), (vec!["a".into(), "b".into()], 2));
        inbox.push(message("e", BYTES_MAX * 2));
        let batch = inbox.take().await;
        assert_eq!((channels(&batch), batch.dropped), (vec!["e".into()], 0), "one always fits");
    }

    /// The end is told behind what came before it.
    #[tokio::test]
    async fn the_end_comes_last() {
        let inbox = Inbox::default();
        inbox.push(message("a", 1));
        inbox.push(PushInfo { kind: PushKind::Disconnection, data: vec![] });
        let batch = inbox.take().await;
        assert_eq!((batch.messages.len(), batch.is_over), (1, true));
    }
}
