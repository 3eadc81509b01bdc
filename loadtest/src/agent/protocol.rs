//! What coordinator and agent say to each other.
//!
//! The coordinator speaks first: `Hello`, as often as it likes `Time`, then `Prepare`, `Begin`,
//! `Publish`, `Settle` and `Finish`. From `Begin` to `Finish` the agent sends its `Status` several
//! times a second. `Hello` and `Refused` stay as they are in all versions, so that others are told.

use std::{ops::Range, sync::atomic::Ordering, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    decoder::Transport,
    order::Subscribe,
    plan::{Group, Plan, Publishing, Spread},
    preflight::Finding,
    record::ClientUse,
    shared::{Gauges, Shared},
    swarm::Share,
    tally::{HEAT_ROWS, Tally},
};

/// The version of all this. Both ends have the same, or do not work together.
pub const VERSION: u32 = 3;

/// What the coordinator says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToAgent {
    /// Who it is. The agent answers `Welcome` or `Refused`.
    Hello {
        /// Its [`VERSION`].
        version: u32,
        /// What agent and coordinator share, if the agent asks for it.
        key: Option<String>,
    },
    /// Asks what the agent's clock shows. The agent answers `Time`.
    Time,
    /// What the agent is to do. The agent answers `Prepared`.
    Prepare(Box<Task>),
    /// The subscribers connect.
    Begin {
        /// What the agent's clock shows at the run's epoch.
        epoch_nanos: u64,
        /// How much ahead of their due time publications count as handed over.
        slack_nanos: u64,
    },
    /// Publications are due. The agent answers `Publishing`.
    Publish {
        /// When publishing begins, since the epoch.
        at_micros: u64,
    },
    /// All publications are handed over.
    Settle(Finals),
    /// The run is over. The agent answers `Report`.
    Finish,
    /// Nothing, but it is still there.
    Alive,
}

/// What an agent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum FromAgent {
    /// The coordinator is the agent's.
    Welcome {
        /// Threads on which it drives subscribers.
        threads: u32,
    },
    /// The coordinator is not the agent's.
    Refused {
        /// Why.
        why: String,
    },
    /// What its clock shows.
    Time {
        /// In nanoseconds.
        nanos: u64,
    },
    /// What stands in the way of its part on its machine.
    Prepared {
        /// One by one.
        findings: Vec<Finding>,
    },
    /// It knows when publishing begins.
    Publishing,
    /// What it has counted so far.
    Status(Status),
    /// What it has counted.
    Report(Box<Report>),
    /// It cannot go on.
    Failed {
        /// Why.
        why: String,
    },
}

/// What an agent is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The run's number.
    pub run: u32,
    /// What the run does.
    pub plan: Plan,
    /// Where and how to subscribe.
    pub subscribe: Vec<(Transport, Subscribe)>,
    /// The share of the agent's first thread; its other threads have those that follow.
    pub first_share: u32,
    /// Threads of all agents.
    pub threads: u32,
}

/// What has been published, where it is not what the schedule says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finals {
    /// By channel, publications that were handed over.
    pub handed_over: Vec<(u32, u32)>,
    /// By channel and sequence, those of which nobody knows whether the server took them.
    pub uncertain: Vec<(u32, u32)>,
}

/// What an agent has counted so far: the sums of its threads' gauges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    live: u64,
    established: u64,
    failed: u64,
    received: u64,
    faults: u64,
    behind: u64,
    heat: Vec<u64>,
}

/// What an agent has counted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What its subscribers saw.
    pub tally: Tally,
    /// What it used.
    pub used: ClientUse,
}

impl Task {
    /// The shares of an agent of so many threads.
    pub fn shares(&self, threads: u32) -> impl Iterator<Item = Share> {
        let mine: Range<u32> = self.first_share..self.first_share + threads;
        mine.map(|remainder| Share { remainder, threads: self.threads })
    }

    /// Why it cannot be done by so many threads, if so. A coordinator of this version has checked
    /// all of it; an agent does not believe so.
    pub fn flaw(&self, threads: u32) -> Option<&'static str> {
        let Plan { idle, active, transports, ramp, publishing, churn, slow, .. } = &self.plan;
        let Publishing { rate_from, rate_to, burst, publishers, .. } = *publishing;
        let has_endpoint = |transport| self.subscribe.iter().any(|(it, _)| *it == transport);
        let times = [publishing.duration, publishing.broadcast_every, churn.storm_every];
        // Whole bursts may be more than what the rate says.
        let publications = publishing.at_rate().saturating_add(publishing.broadcasts.into());
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        let is_rate = |rate: f64| (0.0..=f64::from(u32::MAX)).contains(&rate);
        let flaws = [
            (self.first_share.checked_add(threads).is_none_or(|it| it > self.threads), "shares"),
            (
                !(1..=CONNECTIONS_MAX)
                    .contains(&idle.connections.saturating_add(active.connections)),
                "connections",
            ),
            (![idle, active].into_iter().all(is_group), "groups"),
            (transports.iter().all(|(_, weight)| *weight == 0), "transports"),
            (!transports.iter().all(|(it, _)| has_endpoint(*it)), "endpoints"),
            (*ramp == 0, "ramp"),
            (!times.iter().all(|time| *time <= TIME_MAX), "times"),
            (!is_rate(rate_from) || !is_rate(rate_to), "rate"),
            (publications > u32::MAX.into(), "publications"),
            (burst == 0 || publishers == 0, "publishing"),
            (publishing.payload_min > publishing.payload_max, "payload"),
            (!is_rate(churn.per_second) || !is_share(churn.storm_share), "churn"),
            (!is_share(slow.share) || !is_share(slow.stalled), "slow readers"),
        ];
        flaws.into_iter().find_map(|(is_flawed, what)| is_flawed.then_some(what))
    }
}

fn is_group(group: &Group) -> bool {
    let is_spread = match group.spread {
        Spread::Even => true,
        Spread::Zipf(exponent) => exponent.is_finite(),
    };
    let channels = 1..=group.connections;
    is_spread && (group.connections == 0 || channels.contains(&group.channels))
}

impl Status {
    /// What the threads of this process have counted.
    pub fn of(shared: &Shared) -> Status {
        let behind = |it: &Gauges| it.behind.load(Ordering::Acquire);
        // Until the last has looked, nobody knows.
        let all = shared.gauges.iter().map(|it| behind(it).checked_sub(1)).sum::<Option<u64>>();
        Status {
            live: shared.sum(|it| &it.live),
            established: shared.sum(|it| &it.established),
            failed: shared.sum(|it| &it.failed),
            received: shared.sum(|it| &it.received),
            faults: shared.sum(|it| &it.faults),
            behind: all.map_or(0, |behind| behind + 1),
            heat: (0..HEAT_ROWS).map(|row| shared.sum(|it| &it.heat[row])).collect(),
        }
    }

    /// Shows it on the gauges that stand for the agent.
    pub fn show(&self, gauges: &Gauges) {
        let pairs = [
            (&gauges.live, self.live),
            (&gauges.established, self.established),
            (&gauges.failed, self.failed),
            (&gauges.received, self.received),
            (&gauges.faults, self.faults),
        ];
        let heat = gauges.heat.iter().zip(self.heat.iter().copied());
        for (gauge, count) in pairs.into_iter().chain(heat) {
            gauge.store(count, Ordering::Relaxed);
        }
        gauges.behind.store(self.behind, Ordering::Release);
    }
}

/// Subscribers of a plan: more than an order may ask for, and few enough for tables of them.
const CONNECTIONS_MAX: u32 = 1 << 24;

/// The longest time that a plan may have anywhere: a year.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::plan;

    /// What no table holds and no number counts is refused: an agent would not survive it.
    #[test]
    fn tasks_that_no_agent_survives_are_flawed() {
        let flaw = |change: fn(&mut Plan)| {
            let mut plan = plan::sample();
            change(&mut plan);
            let subscribe = Subscribe {
                address: ([127, 0, 0, 1], 80).into(),
                host: String::new(),
                path: String::new(),
                headers: Vec::new(),
                tls: None,
                tokens: Vec::new(),
            };
            let subscribe = vec![(Transport::WebSocket, subscribe)];
            let task = Task { run: 7, plan, subscribe, first_share: 0, threads: 2 };
            let flaw = task.flaw(2);
            if flaw.is_none() {
                Shared::new(7, Instant::now(), task.plan, task.subscribe, 2);
            }
            flaw
        };
        assert_eq!(flaw(|_| {}), None);
        assert_eq!(flaw(|it| it.active.connections = u32::MAX), Some("connections"));
        assert_eq!(flaw(|it| it.idle.connections = u32::MAX), Some("connections"));
        let bursts: fn(&mut Plan) = |it| {
            let Publishing { rate_from, rate_to, burst, .. } = &mut it.publishing;
            (*rate_from, *rate_to, *burst) = (4e9, 4e9, 3_000_000_000);
        };
        assert_eq!(flaw(bursts), Some("publications"));
        assert_eq!(flaw(|it| it.publishing.broadcasts = u32::MAX), Some("publications"));
    }
}
