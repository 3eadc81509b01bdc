//! What will have been published, on machines that do not publish.
//!
//! The schedule says when each publication is due, and none is handed over earlier. So an agent that
//! fills its ledger a little ahead of the due times never counts less than what was handed over,
//! and the oracle, which owes a subscriber what comes after its handshake or after the first that
//! came, never owes it too much. At the end [`Finals`] say what really was handed over.

use std::time::Duration;

use super::protocol::Finals;
use crate::{
    oracle::Published,
    shared::{Ledger, Shared},
};

/// How far a ledger is filled as the schedule says.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    /// The number of the next publication.
    next: u32,
}

impl Forecast {
    /// Counts those as handed over that are due by then, since publishing began.
    pub(super) fn fill(&mut self, shared: &Shared, ledger: &Ledger, until: Duration) {
        let schedule = &shared.schedule;
        while self.next < schedule.publications() && schedule.due(self.next) <= until {
            for channel in shared.targets(self.next) {
                ledger.hand_over(channel, ledger.handed_over(channel));
            }
            self.next += 1;
        }
    }

    /// Counts all as handed over, but for what the coordinator says. Returns whether that makes
    /// sense.
    pub(super) fn settle(mut self, shared: &Shared, finals: &Finals) -> bool {
        self.fill(shared, &shared.ledger, Duration::MAX);
        let mut channels = finals.handed_over.iter().chain(&finals.uncertain);
        if !channels.all(|&(channel, _)| channel < shared.plan.channels()) {
            return false;
        }
        for &(channel, handed_over) in &finals.handed_over {
            shared.ledger.correct(channel, handed_over);
        }
        for &(channel, sequence) in &finals.uncertain {
            shared.ledger.doubt(channel, sequence);
        }
        true
    }
}

impl Finals {
    /// What agents would get wrong if they believed the schedule.
    pub(super) fn of(shared: &Shared) -> Finals {
        let scheduled = Ledger::new(shared.plan.channels());
        Forecast::default().fill(shared, &scheduled, Duration::MAX);
        let counts = (0..shared.plan.channels())
            .map(|channel| (channel, shared.ledger.handed_over(channel)))
            .filter(|&(channel, count)| count != scheduled.handed_over(channel));
        Finals { handed_over: counts.collect(), uncertain: shared.ledger.uncertain() }
    }
}
