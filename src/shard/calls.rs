//! What sessions of several channels ask for.

use super::{Setup, Shard};
use crate::{
    hub::Message,
    ids::Slot,
    io::Kernel,
    mesh::{Answer, Asker, Publish, Ticket},
    session::{Call, NotPublished, Refused},
};

impl<K: Kernel> Shard<K> {
    /// Carries out what a session asks for.
    pub(super) fn carry_out(&mut self, slot: Slot) {
        while let Some(call) = self.sessions[slot.index()].next_call() {
            match call {
                Call::Subscribe { channel, .. } if self.turns_away() => {
                    self.refuse(slot, &channel, Refused::Draining);
                }
                Call::Subscribe { channel, format, start } => {
                    self.subscribe_several(slot, &channel, format, start);
                }
                Call::Unsubscribe { channel } => self.unsubscribe(slot, &channel),
                Call::Report(excess) => {
                    let address = self.peer(slot).map(|peer| peer.ip());
                    self.report(address, excess);
                }
                Call::Publish { ticket, .. } if self.draining_since.is_some() => {
                    self.not_published(slot, ticket, NotPublished::Draining);
                }
                Call::Publish { ticket, channel, kind, payload, terms } => {
                    let asker = Asker::Shard(self.setup.id);
                    self.last_call += 1;
                    let call = Ticket(self.last_call);
                    let publish = Publish {
                        asker,
                        ticket: call,
                        channel,
                        kind,
                        payload,
                        terms,
                        position: None,
                    };
                    match hand_over(&self.setup, publish) {
                        Ok(()) => _ = self.calls.insert(call.0, (slot, ticket)),
                        Err(_) => self.not_published(slot, ticket, NotPublished::Busy),
                    }
                }
            }
        }
    }

    fn not_published(&mut self, slot: Slot, ticket: u32, why: NotPublished) {
        self.tell(slot, |session, now, rules, out| {
            session.on_answered(ticket, Err(why), now, rules, out)
        });
    }

    /// The home has answered a subscriber's publication. Who has gone is not told.
    pub(super) fn on_answered(&mut self, answer: Answer) {
        let Some((slot, ticket)) = self.calls.remove(&answer.ticket.0) else { return };
        let outcome = answer.outcome.map_err(NotPublished::Rejected);
        self.tell(slot, |session, now, rules, out| {
            session.on_answered(ticket, outcome, now, rules, out)
        });
    }

    /// The connection is gone: what it published goes on, and nobody is told.
    pub(super) fn forget_calls(&mut self, slot: Slot) {
        if !self.calls.is_empty() {
            self.calls.retain(|_, (whose, _)| *whose != slot);
        }
    }

    /// Sends an answer where its publication came from.
    pub(super) fn send_answer(&mut self, asker: Asker, answer: Answer) -> bool {
        match asker {
            Asker::Outside => {
                self.ingress().answer(answer);
                return true;
            }
            Asker::Shard(shard) => self.answers.push_back((shard, Message::Answered(answer))),
            Asker::Input(input) => {
                let input = usize::from(input);
                self.feeds[input].on_answered();
                self.setup.inputs[input][usize::from(self.setup.id.0)].answer(answer);
                return false;
            }
            Asker::Nobody => (),
        }
        self.ingress().release();
        false
    }

    /// Publishes the numbers of subscribers that have changed.
    pub(super) fn tell_presence(&mut self) {
        let setup = &self.setup;
        self.home.tell_presence(self.now.us, |publish| hand_over(setup, publish));
    }
}

/// Hands a publication to its home, or gives it back if its queue is full.
fn hand_over(setup: &Setup, publish: Publish) -> Result<(), Publish> {
    let home = publish.channel.bucket().home(setup.mesh.shards());
    let ingress = &setup.ingresses[usize::from(home.0)];
    ingress.publish(publish)?;
    if home != setup.id {
        ingress.wake();
    }
    Ok(())
}
