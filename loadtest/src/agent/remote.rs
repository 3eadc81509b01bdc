//! One agent, as its coordinator sees it.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use super::{
    clock::{Exchange, MachineClock, Offset},
    line::{LINE_BYTES_MAX, LONG_LINE_BYTES_MAX, Line, LineError},
    protocol::{Finals, FromAgent, Report, Status, Task, ToAgent, VERSION},
};
use crate::{preflight::Finding, shared::Gauges};

/// One agent, as its coordinator sees it.
#[derive(Debug)]
pub(super) struct Remote {
    /// As the operator wrote it.
    pub(super) address: String,
    /// Threads on which it drives subscribers.
    pub(super) threads: u32,
    /// How far its clock is ahead of ours.
    pub(super) offset: Offset,
    line: Line,
    clock: MachineClock,
    /// What it said last of what it has counted.
    status: Option<Status>,
    heard_at: Instant,
    told_at: Instant,
}

/// Why an agent is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum AgentFault {
    /// No connection to it.
    #[error("cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// It takes no orders from us.
    #[error("refuses: {0}")]
    Refuses(String),
    /// It cannot go on.
    #[error("failed: {0}")]
    Failed(String),
    /// It said nothing, or did not answer, for so long.
    #[error("was not heard from for {0:?}")]
    Silent(Duration),
    /// It answered too late for all to begin at the same time.
    #[error("did not know in time when publishing begins: the network is too slow")]
    Late,
    /// It said what makes no sense here.
    #[error("answers what nobody asked for: is another program listening there?")]
    Confused,
    /// The connection is of no use any more.
    #[error("is lost: {0}")]
    Lost(#[from] LineError),
}

impl Remote {
    /// Connects to an agent and compares its clock with ours.
    pub(super) fn enlist(
        address: &str,
        key: Option<&str>,
        clock: MachineClock,
    ) -> Result<Remote, AgentFault> {
        let line = connect(address).map_err(AgentFault::Unreachable)?;
        let now = Instant::now();
        let mut remote = Remote {
            address: address.to_owned(),
            threads: 0,
            offset: Offset { nanos: 0, error_nanos: u64::MAX },
            line,
            clock,
            status: None,
            heard_at: now,
            told_at: now,
        };
        remote.tell(&ToAgent::Hello { version: VERSION, key: key.map(String::from) })?;
        remote.threads = remote.answer(ANSWER_PATIENCE, |message| match message {
            // What no machine has would overflow the sum over all agents.
            FromAgent::Welcome { threads } => {
                (1..=THREADS_MAX).contains(&threads).then_some(threads)
            }
            _ => None,
        })?;
        remote.offset = remote.compare_clocks()?;
        Ok(remote)
    }

    /// How far its clock is ahead of ours now.
    pub(super) fn compare_clocks(&mut self) -> Result<Offset, AgentFault> {
        let exchanges: Result<Vec<_>, _> = (0..EXCHANGES).map(|_| self.exchange()).collect();
        Offset::best(&exchanges?).ok_or(AgentFault::Confused)
    }

    /// Gives it its task. Returns what stands in the way.
    pub(super) fn prepare(&mut self, task: Task) -> Result<Vec<Finding>, AgentFault> {
        self.tell(&ToAgent::Prepare(Box::new(task)))?;
        self.answer(ANSWER_PATIENCE, |message| match message {
            FromAgent::Prepared { findings } => Some(findings),
            _ => None,
        })
    }

    /// Its subscribers connect from that instant on.
    pub(super) fn begin(&mut self, epoch: Instant) -> Result<(), AgentFault> {
        let epoch_nanos = self.offset.shown_there(self.clock.nanos(epoch));
        let slack_nanos = (SLACK.as_nanos() as u64).saturating_add(self.offset.error_nanos);
        self.heard_at = Instant::now();
        self.tell(&ToAgent::Begin { epoch_nanos, slack_nanos })
    }

    /// Tells it when publishing begins, since the epoch.
    pub(super) fn announce(&mut self, at: Duration) -> Result<(), AgentFault> {
        self.tell(&ToAgent::Publish { at_micros: at.as_micros() as u64 })
    }

    /// Waits until it knows.
    pub(super) fn await_announced(&mut self, until: Instant) -> Result<(), AgentFault> {
        let left = until.saturating_duration_since(Instant::now());
        let announced = self.answer(left, |message| match message {
            FromAgent::Publishing => Some(()),
            _ => None,
        });
        announced.map_err(|fault| match fault {
            AgentFault::Silent(_) => AgentFault::Late,
            fault => fault,
        })
    }

    /// All publications are handed over.
    pub(super) fn settle(&mut self, finals: &Finals) -> Result<(), AgentFault> {
        self.tell(&ToAgent::Settle(finals.clone()))
    }

    /// The run is over.
    pub(super) fn finish(&mut self) -> Result<(), AgentFault> {
        self.tell(&ToAgent::Finish)
    }

    /// What it has counted.
    pub(super) fn report(&mut self) -> Result<Report, AgentFault> {
        self.long_answer(REPORT_PATIENCE, LONG_LINE_BYTES_MAX, |message| match message {
            FromAgent::Report(report) => Some(*report),
            _ => None,
        })
    }

    /// Waits until it is free for another coordinator.
    pub(super) fn leave(self) {
        self.line.close();
    }

    /// Hears what it has said so far, and shows it.
    pub(super) fn look(&mut self, gauges: &Gauges) -> Result<(), AgentFault> {
        let now = Instant::now();
        while let Some(message) = self.hear(now, LINE_BYTES_MAX)? {
            if !matches!(message, FromAgent::Status(_)) {
                return Err(AgentFault::Confused);
            }
        }
        if let Some(status) = self.status.take() {
            status.show(gauges);
        }
        if now.saturating_duration_since(self.heard_at) > SILENCE_MAX {
            return Err(AgentFault::Silent(SILENCE_MAX));
        }
        if now.saturating_duration_since(self.told_at) > ALIVE_EVERY {
            self.tell(&ToAgent::Alive)?;
        }
        Ok(())
    }

    fn exchange(&mut self) -> Result<Exchange, AgentFault> {
        let asked = self.clock.nanos(Instant::now());
        self.tell(&ToAgent::Time)?;
        let shown = self.answer(ANSWER_PATIENCE, |message| match message {
            FromAgent::Time { nanos } => Some(nanos),
            _ => None,
        })?;
        Ok(Exchange { asked, shown, answered: self.clock.nanos(Instant::now()) })
    }

    /// The answer to what it was told last. What it has counted meanwhile is kept.
    fn answer<T>(
        &mut self,
        patience: Duration,
        pick: impl Fn(FromAgent) -> Option<T>,
    ) -> Result<T, AgentFault> {
        self.long_answer(patience, LINE_BYTES_MAX, pick)
    }

    /// The same, where the answer may be long.
    fn long_answer<T>(
        &mut self,
        patience: Duration,
        bytes_max: usize,
        pick: impl Fn(FromAgent) -> Option<T>,
    ) -> Result<T, AgentFault> {
        let until = Instant::now() + patience;
        loop {
            match self.hear(until, bytes_max)? {
                None => return Err(AgentFault::Silent(patience)),
                Some(FromAgent::Status(_)) => {}
                Some(message) => return pick(message).ok_or(AgentFault::Confused),
            }
        }
    }

    fn hear(&mut self, until: Instant, bytes_max: usize) -> Result<Option<FromAgent>, AgentFault> {
        let heard = self.line.receive(until, bytes_max)?;
        if heard.is_some() {
            self.heard_at = Instant::now();
        }
        match heard {
            Some(FromAgent::Refused { why }) => Err(AgentFault::Refuses(why)),
            Some(FromAgent::Failed { why }) => Err(AgentFault::Failed(why)),
            Some(FromAgent::Status(ref status)) => {
                self.status = Some(status.clone());
                Ok(heard)
            }
            _ => Ok(heard),
        }
    }

    fn tell(&mut self, message: &ToAgent) -> Result<(), AgentFault> {
        self.told_at = Instant::now();
        let Err(error) = self.line.send(message) else { return Ok(()) };
        // Its last words say more than that it is gone.
        while let Some(heard) = self.hear(Instant::now(), LINE_BYTES_MAX)? {
            drop(heard);
        }
        Err(error.into())
    }
}

fn connect(address: &str) -> io::Result<Line> {
    let mut failure = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => return Line::new(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// How often an agent is asked for its time: the quickest answer of so many met no queue.
const EXCHANGES: u32 = 16;

/// How far ahead of their due times agents count publications as handed over: time for an agent
/// whose threads have to wait for a processor.
const SLACK: Duration = Duration::from_secs(1);

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Threads that an agent may have.
const THREADS_MAX: u32 = 1 << 16;

/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long an agent may take to add up.
const REPORT_PATIENCE: Duration = Duration::from_secs(120);

/// An agent that says nothing for so long during a run is given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How often an agent is told that its coordinator is still there.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
