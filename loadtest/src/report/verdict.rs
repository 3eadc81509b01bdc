//! Whether a run was as it should be: what was wrong with it, and which objectives it missed.

use serde::Serialize;

use crate::{record::Record, slo::Miss};

/// What is to be said of a run in the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The objectives as they were given, if any were.
    pub slo: Option<String>,
    /// Those that were missed.
    pub misses: Vec<Miss>,
    /// The run as a whole.
    pub outcome: Outcome,
}

/// The run as a whole. What is worse stands further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every subscriber got what it was owed, and every objective was met.
    Passed,
    /// Every subscriber got what it was owed, but an objective was missed.
    Missed,
    /// It was ended early. Until then every subscriber got what it was owed.
    Interrupted,
    /// Something did not connect, was not published, or did not arrive as it should.
    Faulty,
}

/// One kind of what went wrong, and how often it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What, in words.
    pub kind: &'static str,
    /// How often.
    pub times: u64,
}

impl Verdict {
    /// Judges a run: faults are worse than missed objectives.
    pub fn of(record: &Record, slo: Option<String>, misses: Vec<Miss>) -> Verdict {
        let is_clean = faults(record).is_empty() && record.tally.deliveries.is_flawless();
        let outcome = match (is_clean, misses.is_empty()) {
            (false, _) => Outcome::Faulty,
            (true, false) => Outcome::Missed,
            (true, true) => Outcome::Passed,
        };
        Verdict { slo, misses, outcome }
    }

    /// The same of a run that was ended early: what it would have shown later is not known.
    pub fn interrupted(self) -> Verdict {
        Verdict { outcome: self.outcome.max(Outcome::Interrupted), ..self }
    }
}

/// What went wrong, worst first; only what did.
pub fn faults(record: &Record) -> Vec<Fault> {
    let deliveries = &record.tally.deliveries;
    let all = [
        ("lost", deliveries.lost),
        ("corrupt", deliveries.corrupt),
        ("misdirected", deliveries.misdirected),
        ("duplicated", deliveries.duplicated),
        ("repeated", deliveries.repeated),
        ("in unannounced gaps", deliveries.unannounced_gap),
        ("falsely recovered", deliveries.false_recovered),
        ("falsely in gaps", deliveries.false_gap),
        ("reordered", deliveries.reordered),
        ("closed unexpectedly", deliveries.unexpected_closes),
        ("failed to connect", record.tally.connections.failed),
        ("failed to publish", record.publications.failed),
    ];
    let happened = all.into_iter().filter(|(_, times)| *times > 0);
    happened.map(|(kind, times)| Fault { kind, times }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn miss() -> Miss {
        Miss { objective: "p99", limit: "250 ms".into(), measured: "312 ms".into() }
    }

    #[test]
    fn a_missed_objective_spoils_a_run_and_a_fault_spoils_it_more() {
        let (clean, broken) = (sample::million(), sample::broken());
        assert_eq!(Verdict::of(&clean, None, vec![]).outcome, Outcome::Passed);
        assert_eq!(Verdict::of(&clean, None, vec![miss()]).outcome, Outcome::Missed);
        assert_eq!(Verdict::of(&broken, None, vec![miss()]).outcome, Outcome::Faulty);
        assert_eq!(Verdict::of(&broken, None, vec![]).outcome, Outcome::Faulty);
    }

    /// No run that was ended early passes, and a fault stays one.
    #[test]
    fn an_interruption_spoils_a_run_but_hides_no_fault() {
        let (clean, broken) = (sample::million(), sample::broken());
        let outcome = |record, misses| Verdict::of(record, None, misses).interrupted().outcome;
        assert_eq!(outcome(&clean, vec![]), Outcome::Interrupted);
        assert_eq!(outcome(&clean, vec![miss()]), Outcome::Interrupted);
        assert_eq!(outcome(&broken, vec![]), Outcome::Faulty);
    }

    /// Each counter that may only be zero makes a fault, named for it, and nothing else does.
    ///
    /// Method: a clean record with one counter raised at a time.
    #[test]
    fn every_kind_of_fault_is_named() {
        type Spoil = fn(&mut Record) -> &mut u64;
        let spoils: [(Spoil, &str); 12] = [
            (|it| &mut it.tally.deliveries.lost, "lost"),
            (|it| &mut it.tally.deliveries.corrupt, "corrupt"),
            (|it| &mut it.tally.deliveries.misdirected, "misdirected"),
            (|it| &mut it.tally.deliveries.duplicated, "duplicated"),
            (|it| &mut it.tally.deliveries.repeated, "repeated"),
            (|it| &mut it.tally.deliveries.unannounced_gap, "in unannounced gaps"),
            (|it| &mut it.tally.deliveries.false_recovered, "falsely recovered"),
            (|it| &mut it.tally.deliveries.false_gap, "falsely in gaps"),
            (|it| &mut it.tally.deliveries.reordered, "reordered"),
            (|it| &mut it.tally.deliveries.unexpected_closes, "closed unexpectedly"),
            (|it| &mut it.tally.connections.failed, "failed to connect"),
            (|it| &mut it.publications.failed, "failed to publish"),
        ];
        assert_eq!(faults(&sample::million()), []);
        for (spoil, kind) in spoils {
            let mut record = sample::million();
            *spoil(&mut record) = 7;
            assert_eq!(faults(&record), [Fault { kind, times: 7 }]);
            assert_eq!(Verdict::of(&record, None, vec![]).outcome, Outcome::Faulty, "{kind}");
        }
    }
}
