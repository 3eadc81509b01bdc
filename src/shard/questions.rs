//! Answering questions from outside.

use super::Shard;
use crate::{
    io::Kernel,
    limits::{CHANNEL_LAG_LOOKS_MAX, QUESTIONS_PER_TURN_MAX},
    report::Question,
};

impl<K: Kernel> Shard<K> {
    pub(super) fn take_questions(&mut self) -> bool {
        let questions = &self.setup.questions[usize::from(self.setup.id.0)];
        if questions.is_empty() {
            return false;
        }
        for _ in 0..QUESTIONS_PER_TURN_MAX {
            let questions = &self.setup.questions[usize::from(self.setup.id.0)];
            match questions.take() {
                None => break,
                Some(Question::Channel { name, reply }) => reply(self.home.report(&name)),
                Some(Question::Channels { prefix, after, limit, reply }) => {
                    reply(self.home.reports(&prefix, after.as_ref(), limit));
                }
                Some(Question::Busiest { limit, reply }) => {
                    reply(self.home.busiest(limit, self.now.us));
                }
                Some(Question::Lag(reply)) => {
                    let (mut report, slots) = self.views.lag(self.now.us);
                    for (slow, slot) in report.slowest.iter_mut().zip(slots) {
                        slow.address = self.peer(slot);
                    }
                    reply(report);
                }
                Some(Question::ChannelLag { name, reply }) => {
                    reply(self.views.channel_lag(&name, CHANNEL_LAG_LOOKS_MAX, self.now.us));
                }
                Some(Question::Connections { wanted, from, limit, reply }) => {
                    reply(self.connections(&wanted, from, limit));
                }
                Some(Question::Connection { id, close, reply }) => {
                    reply(self.connection(id, close));
                }
                Some(Question::Watch { channels, seen, reply }) => {
                    self.watch(&channels, seen, reply);
                }
            }
        }
        true
    }
}
