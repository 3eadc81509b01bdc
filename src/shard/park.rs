//! Sleeping while there is nothing to do.

use std::time::Duration;

use super::{Now, Shard};
use crate::{io::Kernel, limits::TICK_MS};

impl<K: Kernel> Shard<K> {
    pub(super) fn park(&mut self, now: Now) -> std::io::Result<()> {
        let waited = if self.lie_down() { self.kernel.wait(self.patience(now)) } else { Ok(()) };
        self.setup.parking.unpark();
        waited
    }

    /// Says that this shard sleeps, then looks for what others left before they could know. Says
    /// whether it may sleep.
    pub fn lie_down(&self) -> bool {
        self.setup.parking.park();
        self.setup.mesh.inbox(self.setup.id).is_empty()
            && self.nothing_waits()
            && self.setup.questions[usize::from(self.setup.id.0)].is_empty()
            && self.setup.journal.as_ref().is_none_or(|journal| journal.landing.is_empty())
            && (self.draining_since.is_some() || !self.setup.drain.has_begun())
            && self.accepting == self.may_accept()
    }

    /// How long to sleep if nothing happens.
    pub fn patience(&self, now: Now) -> Option<Duration> {
        /// After an inbox was found full its owner is busy emptying it.
        const RETRY: Duration = Duration::from_millis(1);
        /// In a drain, until others are done, too.
        const LOOK_AROUND: Duration = Duration::from_millis(TICK_MS);
        let owes = self.home.owes() || self.views.owes() || self.home.owes_journal();
        if owes || !self.answers.is_empty() {
            return Some(RETRY);
        }
        if self.draining_since.is_some() && self.connections == 0 {
            return Some(LOOK_AROUND);
        }
        let deadline_us = self.wheel.next().map(|next| u64::from(next.0) * TICK_MS * 1000);
        let others_us = self.views.rest_ends().into_iter().chain(self.home.next_due_us());
        let others_us = others_us.chain(self.pace_ends_us());
        let due_us = deadline_us.into_iter().chain(others_us).min()?;
        Some(Duration::from_micros(due_us.saturating_sub(now.us)))
    }
}
