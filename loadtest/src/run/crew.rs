//! Who drives the subscribers of a run: threads of this process, or agents on other machines.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::RunError;
use crate::{
    agent::{Agents, Returns},
    live::Display,
    order::Order,
    preflight::{self, Demand, Finding, Limits, Severity},
    shared::Shared,
    swarm::{Share, Threads},
};

/// Those who will drive the subscribers, each of which can.
pub(super) enum Recruits {
    /// So many threads of this process.
    Here(u32),
    /// Agents on other machines.
    Elsewhere(Agents),
}

/// Those who drive the subscribers. The run is over for all of them when this is dropped.
pub(super) enum Crew {
    Here(Threads),
    Elsewhere(Agents),
}

impl Recruits {
    /// Finds those that an order names, and makes sure that their machines can hold the run.
    pub(super) fn muster(
        order: &Order,
        run: u32,
        display: &mut Display,
    ) -> Result<Recruits, RunError> {
        if order.agents.is_empty() {
            heed(order, findings_here(order)?, display, RunError::Limits)?;
            return Ok(Recruits::Here(order.threads));
        }
        let mut agents = Agents::enlist(order)?;
        heed(order, agents.prepare(order, run)?, display, RunError::AgentLimits)?;
        Ok(Recruits::Elsewhere(agents))
    }

    /// How many of them have gauges.
    pub(super) fn count(&self) -> u32 {
        match self {
            Recruits::Here(threads) => *threads,
            Recruits::Elsewhere(agents) => agents.count(),
        }
    }

    /// How long before it something is to be agreed on.
    pub(super) fn notice(&self) -> Duration {
        match self {
            Recruits::Here(_) => Duration::ZERO,
            Recruits::Elsewhere(_) => NOTICE,
        }
    }

    /// From the epoch on they connect the subscribers.
    pub(super) fn begin(self, shared: &Arc<Shared>) -> Result<Crew, RunError> {
        match self {
            Recruits::Here(threads) => {
                let shares = (0..threads).map(|remainder| Share { remainder, threads });
                Ok(Crew::Here(Threads::begin(shared, shares)))
            }
            Recruits::Elsewhere(mut agents) => {
                agents.begin(shared.epoch)?;
                Ok(Crew::Elsewhere(agents))
            }
        }
    }
}

impl Crew {
    /// Brings the gauges up to date. Fails if one of them has.
    pub(super) fn look(&mut self, shared: &Shared) -> Result<(), RunError> {
        match self {
            Crew::Here(threads) => Ok(threads.check()?),
            Crew::Elsewhere(agents) => Ok(agents.look(shared)?),
        }
    }

    /// Has publishing begin as soon as all can know.
    pub(super) fn begin_publishing(&mut self, shared: &Shared) -> Result<(), RunError> {
        let notice = match self {
            Crew::Here(_) => Duration::ZERO,
            Crew::Elsewhere(_) => NOTICE,
        };
        let at = shared.since_epoch(Instant::now()) + notice + BEFORE_PUBLISHING;
        if let Crew::Elsewhere(agents) = self {
            agents.announce(shared, at)?;
        }
        shared.stage.begin_publishing(at);
        Ok(())
    }

    /// All publications are handed over.
    pub(super) fn settle(&mut self, shared: &Shared) -> Result<(), RunError> {
        match self {
            // They see it by the stage.
            Crew::Here(_) => Ok(()),
            Crew::Elsewhere(agents) => Ok(agents.settle(shared)?),
        }
    }

    /// Ends the run, and adds up what they have counted.
    pub(super) fn finish(self) -> Result<Returns, RunError> {
        match self {
            Crew::Here(threads) => Ok(Returns { tally: threads.finish()?, ..Returns::default() }),
            Crew::Elsewhere(agents) => Ok(agents.finish()?),
        }
    }
}

/// What stands in the way on this machine.
fn findings_here(order: &Order) -> Result<Vec<Finding>, RunError> {
    let connections = order.plan.connections().into();
    let subscribe = &order.endpoints.subscribe;
    let demand = Demand::of(&order.plan, subscribe, connections, order.threads);
    Ok(preflight::check(&demand, &Limits::read().map_err(RunError::Watch)?))
}

/// Shows what is advice. What stops the run does so, unless the order says otherwise.
fn heed(
    order: &Order,
    findings: Vec<Finding>,
    display: &mut Display,
    refusal: fn(Vec<Finding>) -> RunError,
) -> Result<(), RunError> {
    let is_stop = |finding: &Finding| finding.severity == Severity::Stops;
    let (stops, advice): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_stop);
    for Finding { what, fix, .. } in &advice {
        display.say(&format!("note: {what}\n      {fix}"));
    }
    if stops.is_empty() || order.ignores_limits { Ok(()) } else { Err(refusal(stops)) }
}

/// Long enough for a message to all agents, and for them to open their rings.
const NOTICE: Duration = Duration::from_secs(1);

/// From the last connection to the first publication: what the ramp has left to do is done.
const BEFORE_PUBLISHING: Duration = Duration::from_millis(500);
