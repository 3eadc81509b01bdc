//! One coordinator's run, on the machine of an agent.
//!
//! One thread listens to the coordinator, tells it what was counted, and fills the ledger; the
//! subscribers have threads of their own, which end with the session however it ends.

use std::{
    io,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    clock::MachineClock,
    forecast::Forecast,
    line::{LONG_LINE_BYTES_MAX, Line, LineError},
    protocol::{Finals, FromAgent, Report, Status, Task, ToAgent},
};
use crate::{
    meter::OwnMeter,
    preflight::{self, Demand, Finding, Limits},
    shared::{Shared, Stage},
    swarm::{SwarmError, Threads},
};

/// What an agent brings to every session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    pub(super) clock: MachineClock,
    /// Threads that drive subscribers.
    pub(super) threads: u32,
}

/// Why a session ended before the run was over.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndedEarly {
    /// The connection is of no use any more.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Nothing came from the coordinator.
    #[error("nothing was heard from it for {SILENCE_MAX:?}")]
    Silent,
    /// The coordinator said what makes no sense at this point.
    #[error("the coordinator asks for what makes no sense: {0}")]
    Misled(&'static str),
    /// A thread of subscribers failed.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// What this machine allows and uses cannot be read.
    #[error("reading what this machine allows and uses failed: {0}")]
    Machine(#[source] io::Error),
}

/// Makes the run that a coordinator asks for, which was welcomed. Tells why it cannot go on.
pub(super) fn serve(line: &mut Line, means: Means) -> Result<(), EndedEarly> {
    let ended = prepare(line, means).and_then(|mut run| run.drive(line));
    if let Err(fault @ (EndedEarly::Misled(_) | EndedEarly::Swarm(_) | EndedEarly::Machine(_))) =
        &ended
    {
        // If that fails too, there is nobody left to be told.
        let _ = line.send(&FromAgent::Failed { why: fault.to_string() });
    }
    ended
}

/// Until the subscribers connect.
fn prepare(line: &mut Line, means: Means) -> Result<Run, EndedEarly> {
    let mut task = None;
    loop {
        let until = Instant::now() + SILENCE_MAX;
        let heard = line.receive(until, LONG_LINE_BYTES_MAX)?.ok_or(EndedEarly::Silent)?;
        match heard {
            ToAgent::Time => tell_time(line, means.clock)?,
            ToAgent::Alive => {}
            ToAgent::Prepare(told) => {
                if let Some(flaw) = told.flaw(means.threads) {
                    return Err(EndedEarly::Misled(flaw));
                }
                line.send(&FromAgent::Prepared { findings: findings(&told, means.threads)? })?;
                task = Some(told);
            }
            ToAgent::Begin { epoch_nanos, slack_nanos } => {
                let task = task.ok_or(EndedEarly::Misled("a beginning without a task"))?;
                let epoch = means.clock.instant(epoch_nanos).filter(|&epoch| is_near(epoch));
                let epoch = epoch.ok_or(EndedEarly::Misled("another age's epoch"))?;
                return Run::begin(*task, means, epoch, Duration::from_nanos(slack_nanos));
            }
            _ => return Err(EndedEarly::Misled("a run that has not begun")),
        }
    }
}

/// A run under way.
struct Run {
    shared: Arc<Shared>,
    threads: Option<Threads>,
    clock: MachineClock,
    /// None once the coordinator has said what was published.
    forecast: Option<Forecast>,
    slack: Duration,
    meter: OwnMeter,
    heard_at: Instant,
    told_at: Instant,
}

impl Run {
    fn begin(task: Task, means: Means, epoch: Instant, slack: Duration) -> Result<Run, EndedEarly> {
        let meter = OwnMeter::start().map_err(EndedEarly::Machine)?;
        let shares: Vec<_> = task.shares(means.threads).collect();
        let shared = Shared::new(task.run, epoch, task.plan, task.subscribe, means.threads);
        let shared = Arc::new(shared);
        let now = Instant::now();
        Ok(Run {
            threads: Some(Threads::begin(&shared, shares.into_iter())),
            clock: means.clock,
            forecast: Some(Forecast::default()),
            slack,
            meter,
            heard_at: now,
            told_at: now,
            shared,
        })
    }

    fn drive(&mut self, line: &mut Line) -> Result<(), EndedEarly> {
        while self.turn(line)?.is_continue() {}
        Ok(())
    }

    /// One look at everything there is to do.
    fn turn(&mut self, line: &mut Line) -> Result<ControlFlow<()>, EndedEarly> {
        let now = Instant::now();
        self.foresee(now);
        let received = self.shared.sum(|it| &it.received);
        self.meter.sample(self.shared.since_epoch(now), now, received);
        self.threads.as_mut().map_or(Ok(()), Threads::check)?;
        if now.duration_since(self.told_at) >= TELL_EVERY {
            self.told_at = now;
            line.send(&FromAgent::Status(Status::of(&self.shared)))?;
        }
        match line.receive(now + TURN, LONG_LINE_BYTES_MAX)? {
            Some(heard) => {
                self.heard_at = now;
                self.obey(line, heard)
            }
            None if now.duration_since(self.heard_at) > SILENCE_MAX => Err(EndedEarly::Silent),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    /// Counts as handed over what is due by now, or soon.
    fn foresee(&mut self, now: Instant) {
        let Shared { stage, ledger, .. } = &*self.shared;
        let Some(forecast) = &mut self.forecast else { return };
        if stage.now() == Stage::Publishing {
            let ahead = self.shared.since_epoch(now) + self.slack;
            if let Some(until) = ahead.checked_sub(stage.publishing_began()) {
                forecast.fill(&self.shared, ledger, until);
            }
        }
    }

    fn obey(&mut self, line: &mut Line, heard: ToAgent) -> Result<ControlFlow<()>, EndedEarly> {
        match heard {
            ToAgent::Alive => {}
            ToAgent::Time => tell_time(line, self.clock)?,
            ToAgent::Publish { at_micros } => {
                self.shared.stage.begin_publishing(Duration::from_micros(at_micros));
                self.foresee(Instant::now());
                self.meter.begin_measuring();
                line.send(&FromAgent::Publishing)?;
            }
            ToAgent::Settle(finals) => self.settle(&finals)?,
            ToAgent::Finish => {
                self.finish(line)?;
                return Ok(ControlFlow::Break(()));
            }
            ToAgent::Hello { .. } | ToAgent::Prepare(_) | ToAgent::Begin { .. } => {
                return Err(EndedEarly::Misled("a run that has begun"));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn settle(&mut self, finals: &Finals) -> Result<(), EndedEarly> {
        let forecast = self.forecast.take().ok_or(EndedEarly::Misled("settled before"))?;
        if !forecast.settle(&self.shared, finals) {
            return Err(EndedEarly::Misled("channels that the plan does not have"));
        }
        self.shared.stage.advance(Stage::Settling);
        Ok(())
    }

    fn finish(&mut self, line: &mut Line) -> Result<(), EndedEarly> {
        self.meter.end_measuring(self.shared.sum(|it| &it.received));
        let threads = self.threads.take().ok_or(EndedEarly::Misled("finished before"))?;
        let (tally, used) = (threads.finish()?, std::mem::take(&mut self.meter.used));
        Ok(line.send(&FromAgent::Report(Box::new(Report { tally, used })))?)
    }
}

/// Each second since the epoch has its place in memory.
fn is_near(epoch: Instant) -> bool {
    Instant::now().saturating_duration_since(epoch) < EPOCH_AGE_MAX
}

fn tell_time(line: &mut Line, clock: MachineClock) -> Result<(), LineError> {
    line.send(&FromAgent::Time { nanos: clock.nanos(Instant::now()) })
}

/// What stands in the way of this machine's part.
fn findings(task: &Task, threads: u32) -> Result<Vec<Finding>, EndedEarly> {
    let all = task.plan.connections();
    let connections = task.shares(threads).map(|share| u64::from(share.of(all))).sum();
    let demand = Demand::of(&task.plan, &task.subscribe, connections, threads);
    Ok(preflight::check(&demand, &Limits::read().map_err(EndedEarly::Machine)?))
}

/// A coordinator that says nothing for so long is gone. It may take half of that to start a server.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Time since the epoch at which a run begins: it is told before.
const EPOCH_AGE_MAX: Duration = Duration::from_secs(3600);

/// How often the coordinator is told what was counted.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// How often the ledger is filled.
const TURN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// An epoch long ago would fill the memory with seconds in which nothing happened.
    #[test]
    fn an_epoch_is_of_this_age() {
        let now = Instant::now();
        assert!(is_near(now) && is_near(now + EPOCH_AGE_MAX) && !is_near(now - EPOCH_AGE_MAX));
    }
}
