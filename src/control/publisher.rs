//! Hands publications to their home shards and brings each answer back to whoever waits for it.
//!
//! Promises: what one caller hands over to a channel is published in that order; an answer goes to
//! the ticket that it names, in whatever order answers come. Streams of lines share half of a
//! shard's places, so single publications always find the other half.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    frame::PayloadKind,
    ids::{ChannelName, ShardId},
    mesh::{Answer, Asker, Ingress, Publish, Terms, Ticket},
    spans::{Begun, Told, Tracer},
};

/// The answer that a publication will have.
pub(super) type Pending = oneshot::Receiver<Answer>;

/// What is published, to whatever channel.
pub(super) struct Content {
    pub(super) kind: PayloadKind,
    pub(super) payload: Bytes,
    pub(super) terms: Option<Box<Terms>>,
    /// What follows it, if anything does.
    pub(super) span: Option<Box<Begun>>,
}

/// All shards, as a publisher sees them.
pub(super) struct Publisher {
    ingresses: Arc<[Ingress]>,
    lanes: Box<[Lane]>,
    waiting: Mutex<Waiting>,
    tracer: Option<Arc<Tracer>>,
}

/// What streams of lines to one shard share.
struct Lane {
    /// Places that streams may still take.
    places: Arc<Semaphore>,
    /// Told when a place of the ingress has become free.
    freed: Notify,
}

#[derive(Default)]
struct Waiting {
    tickets: u64,
    /// As many as there are places in the ingresses, at most.
    by_ticket: HashMap<Ticket, Waiter>,
}

struct Waiter {
    answer: oneshot::Sender<Answer>,
    followed: Option<Box<Followed>>,
    /// What is given back with the answer, whether or not anybody still waits for it.
    _held: Option<OwnedSemaphorePermit>,
}

/// A publication that is followed.
struct Followed {
    begun: Begun,
    channel: ChannelName,
    bytes: usize,
}

impl Publisher {
    pub(super) fn new(ingresses: Arc<[Ingress]>, tracer: Option<Arc<Tracer>>) -> Self {
        let lane = |ingress: &Ingress| Lane {
            places: Arc::new(Semaphore::new((ingress.capacity() / 2).max(1))),
            freed: Notify::new(),
        };
        let lanes = ingresses.iter().map(lane).collect();
        Publisher { ingresses, lanes, waiting: Mutex::default(), tracer }
    }

    /// The shard that orders and encodes what is published to `channel`.
    pub(super) fn home(&self, channel: &ChannelName) -> ShardId {
        let shards = u16::try_from(self.ingresses.len()).expect("shards are counted in 16 bits");
        channel.bucket().home(shards)
    }

    /// Publications of one stream that may await their answers.
    pub(super) fn window(&self, home: ShardId) -> usize {
        (self.ingress(home).capacity() / 4).max(1)
    }

    /// Hands over a publication, or gives the content back if every place is taken. `held` is
    /// dropped when the shard has answered. The shard is not woken: see [`Publisher::wake`].
    pub(super) fn publish(
        &self,
        channel: &ChannelName,
        content: Content,
        held: Option<OwnedSemaphorePermit>,
    ) -> Result<Pending, Refused> {
        let (answer, pending) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.tickets += 1;
        let ticket = Ticket(waiting.tickets);
        let Content { kind, payload, terms, span } = content;
        let bytes = payload.len();
        let (asker, channel) = (Asker::Outside, channel.clone());
        let home = self.home(&channel);
        let follow = |mut span: Box<Begun>| {
            span.hand_over();
            Box::new(Followed { begun: *span, channel: channel.clone(), bytes })
        };
        let followed = span.map(follow);
        let publication = Publish { asker, ticket, channel, kind, payload, terms, position: None };
        match self.ingress(home).publish(publication) {
            Ok(()) => {
                // The answer cannot be looked up before the lock is released.
                waiting.by_ticket.insert(ticket, Waiter { answer, followed, _held: held });
                Ok(pending)
            }
            Err(Publish { kind, payload, terms, .. }) => {
                let span = followed.map(|followed| Box::new(followed.begun));
                Err(Refused { content: Content { kind, payload, terms, span }, held })
            }
        }
    }

    /// Hands over a stream's next line, and waits for a place as long as there is none. Wakes the
    /// shard only if it waits.
    pub(super) async fn publish_line(&self, channel: &ChannelName, content: Content) -> Pending {
        let home = self.home(channel);
        let lane = &self.lanes[usize::from(home.0)];
        let place = match Arc::clone(&lane.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.wake(home);
                let place = Arc::clone(&lane.places).acquire_owned().await;
                place.expect("a lane's places are never closed")
            }
        };
        let mut refused = Refused { content, held: Some(place) };
        loop {
            // Made before the try, so that a place that is freed after it is not missed.
            let freed = lane.freed.notified();
            match self.publish(channel, refused.content, refused.held) {
                Ok(pending) => return pending,
                Err(again) => refused = again,
            }
            self.wake(home);
            freed.await;
        }
    }

    /// Wakes a shard: once per batch, after its last publication.
    pub(super) fn wake(&self, home: ShardId) {
        self.ingress(home).wake();
    }

    /// Takes every answer that has come and tells it to its waiter.
    pub(super) fn tell_answers(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (ingress, lane) in self.ingresses.iter().zip(&self.lanes) {
            let mut heard = false;
            while let Some(answer) = ingress.take_answer() {
                heard = true;
                let waiter = waiting.by_ticket.remove(&answer.ticket);
                let waiter = waiter.expect("shards answer what they were asked, and once");
                if let Some((followed, tracer)) = waiter.followed.zip(self.tracer.as_ref()) {
                    followed.end(tracer, self, &answer);
                }
                // Whoever waited may have gone; then the answer is nobody's.
                let _ = waiter.answer.send(answer);
            }
            if heard {
                lane.freed.notify_waiters();
            }
        }
    }

    fn ingress(&self, home: ShardId) -> &Ingress {
        &self.ingresses[usize::from(home.0)]
    }
}

impl Followed {
    fn end(self, tracer: &Tracer, publisher: &Publisher, answer: &Answer) {
        let Followed { begun, channel, bytes } = self;
        let outcome = match answer.outcome {
            Ok(accepted) => Ok((accepted.position, accepted.subscribers)),
            Err(rejected) => Err(rejected.to_string()),
        };
        let shard = publisher.home(&channel);
        tracer.end(begun, Told { channel, shard, bytes, outcome });
    }
}

/// A publication that found no place, and what came with it.
pub(super) struct Refused {
    content: Content,
    held: Option<OwnedSemaphorePermit>,
}
