//! All agents of a run, as their coordinator sees them: every step is taken by all of them, and
//! what goes wrong with one of them names it.

use std::time::{Duration, Instant};

use super::{
    clock::{MachineClock, Offset},
    protocol::{Finals, Task},
    remote::{AgentFault, Remote},
};
use crate::{
    order::Order,
    preflight::Finding,
    record::{AgentNote, ClientUse, SATURATED},
    shared::Shared,
    tally::Tally,
};

/// All agents of a run. They wait for the next coordinator when this is dropped.
#[derive(Debug)]
pub struct Agents(Vec<Remote>);

/// What those who drove the subscribers bring back.
#[derive(Debug, Default)]
pub struct Returns {
    /// What all their subscribers saw.
    pub tally: Tally,
    /// What agents used.
    pub used: ClientUse,
    /// What is to be said of each agent.
    pub notes: Vec<AgentNote>,
}

/// What went wrong with which agent.
#[derive(Debug, thiserror::Error)]
#[error("agent {address} {fault}")]
pub struct AgentError {
    /// Its address, as the operator wrote it.
    pub address: String,
    /// What went wrong.
    #[source]
    pub fault: AgentFault,
}

impl Agents {
    /// Connects to all agents of an order, and compares their clocks with this one.
    pub fn enlist(order: &Order) -> Result<Agents, AgentError> {
        let (clock, key) = (MachineClock::start(), order.agent_key.as_deref());
        let enlist = |address: &String| {
            let named = |fault| AgentError { address: address.clone(), fault };
            Remote::enlist(address, key, clock).map_err(named)
        };
        Ok(Agents(order.agents.iter().map(enlist).collect::<Result<_, _>>()?))
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// Deals the subscribers out over all threads of all agents. Returns what stands in the way.
    pub fn prepare(&mut self, order: &Order, run: u32) -> Result<Vec<Finding>, AgentError> {
        let threads = self.0.iter().map(|it| it.threads).sum();
        let (mut findings, mut first_share) = (Vec::new(), 0);
        self.each(|remote| {
            let subscribe = order.endpoints.subscribe.clone();
            let task = Task { run, plan: order.plan.clone(), subscribe, first_share, threads };
            first_share += remote.threads;
            findings.extend(remote.prepare(task)?.into_iter().map(|finding| Finding {
                what: format!("agent {}: {}", remote.address, finding.what),
                ..finding
            }));
            Ok(())
        })?;
        Ok(findings)
    }

    /// All subscribers connect from that instant on, at the plan's rate.
    pub fn begin(&mut self, epoch: Instant) -> Result<(), AgentError> {
        self.each(|remote| remote.begin(epoch))
    }

    /// Publishing begins then, and all of them know it before.
    pub fn announce(&mut self, shared: &Shared, at: Duration) -> Result<(), AgentError> {
        self.each(|remote| remote.announce(at))?;
        self.each(|remote| remote.await_announced(shared.epoch + at))
    }

    /// Shows on the gauges, one for each agent, what they have counted so far.
    pub fn look(&mut self, shared: &Shared) -> Result<(), AgentError> {
        let mut gauges = shared.gauges.iter();
        self.each(|remote| gauges.next().map_or(Ok(()), |gauges| remote.look(gauges)))
    }

    /// All publications are handed over: what has not come yet is on its way.
    pub fn settle(&mut self, shared: &Shared) -> Result<(), AgentError> {
        let finals = Finals::of(shared);
        self.each(|remote| remote.settle(&finals))
    }

    /// Ends the run, and adds up what they bring back.
    pub fn finish(mut self) -> Result<Returns, AgentError> {
        let (mut returns, mut offsets) = (Returns::default(), Vec::new());
        self.each(|remote| {
            offsets.push(remote.compare_clocks()?);
            Ok(())
        })?;
        self.each(Remote::finish)?;
        let mut offsets = offsets.into_iter();
        self.each(|remote| {
            let report = remote.report()?;
            let at_end = offsets.next().unwrap_or(remote.offset);
            returns.notes.push(note(remote, at_end, &report.used));
            returns.used.merge(&report.used);
            returns.tally.merge(report.tally);
            Ok(())
        })?;
        // Only then are they free for another run.
        self.0.into_iter().for_each(Remote::leave);
        Ok(returns)
    }

    fn each(
        &mut self,
        mut step: impl FnMut(&mut Remote) -> Result<(), AgentFault>,
    ) -> Result<(), AgentError> {
        for remote in &mut self.0 {
            step(remote).map_err(|fault| AgentError { address: remote.address.clone(), fault })?;
        }
        Ok(())
    }
}

/// Times of the run were told by the first comparison of clocks: how far it is off in the end is
/// part of its error.
fn note(remote: &Remote, at_end: Offset, used: &ClientUse) -> AgentNote {
    let Offset { nanos, error_nanos } = remote.offset;
    let error_at_end = at_end.error_nanos.saturating_add(at_end.nanos.abs_diff(nanos));
    AgentNote {
        address: remote.address.clone(),
        clock_offset_micros: nanos / 1000,
        clock_error_micros: error_nanos.max(error_at_end).div_ceil(1000),
        is_saturated: used.saturated_share >= SATURATED,
    }
}
