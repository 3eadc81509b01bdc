//! When to say in the log that somebody was refused: the first time, then how often since.

use super::Excess;
use crate::ids::Tick;

/// Ticks between two lines about the same kind.
const QUIET_TICKS: u32 = 100;

/// What was said, and how much was not.
#[derive(Clone, Debug, Default)]
pub struct Alarm {
    kinds: [Kind; Excess::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    quiet_until: Tick,
    untold: u64,
}

impl Alarm {
    /// It has happened once more. If it is to be said, how often it was not said before.
    pub fn on(&mut self, excess: Excess, now: Tick) -> Option<u64> {
        let kind = &mut self.kinds[excess.index()];
        if now < kind.quiet_until {
            kind.untold += 1;
            return None;
        }
        kind.quiet_until = Tick(now.0.saturating_add(QUIET_TICKS));
        Some(std::mem::take(&mut kind.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind is told at once, then at most every ten seconds with what was left out.
    #[test]
    fn a_flood_is_told_in_few_lines() {
        let mut alarm = Alarm::default();
        let mut tell = |excess, now| alarm.on(excess, Tick(now));
        assert_eq!(tell(Excess::Messages, 0), Some(0));
        assert_eq!(tell(Excess::Messages, 1), None);
        assert_eq!(tell(Excess::Bytes, 1), Some(0));
        assert_eq!(tell(Excess::Messages, 99), None);
        assert_eq!(tell(Excess::Messages, 100), Some(2));
        assert_eq!(tell(Excess::Messages, 150), None);
        assert_eq!(tell(Excess::Messages, 5000), Some(1));
        assert_eq!(tell(Excess::Messages, 6000), Some(0));
    }
}
