//! All that is known of a run when it is over: what reports are made of.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    plan::Plan,
    tally::{Names, Tally},
    watch::Machine,
};

/// All that is known of a run.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was to be done.
    pub plan: Plan,
    /// The profile by which the server was spoken to.
    pub profile: String,
    /// Where subscribers connected.
    pub target: String,
    /// Whether certificates were verified, where TLS was spoken.
    pub is_verified: Option<bool>,
    /// When the run began.
    pub began: SystemTime,
    /// This machine.
    pub machine: Machine,
    /// From the first publication's due time until nothing was expected any more.
    pub measured: Duration,
    /// What subscribers saw, on all machines.
    pub tally: Tally,
    /// What was published.
    pub publications: Publications,
    /// Publications from this number on are broadcasts.
    pub first_broadcast: u32,
    /// What the server used, if it was watched.
    pub server: Option<ServerUse>,
    /// What the load tester used.
    pub client: ClientUse,
    /// Machines that took part beside this one.
    pub agents: Vec<AgentNote>,
}

/// What was published.
#[derive(Clone, Debug, Default)]
pub struct Publications {
    /// Those whose due time came.
    pub due: u64,
    /// Those that the server took.
    pub published: u64,
    /// Those that it refused, or did not answer.
    pub failed: u64,
    /// Why.
    pub failures: Names,
    /// The longest time from when one was due until it was sent, in microseconds.
    pub late_micros_max: u64,
}

impl Record {
    /// Microseconds until the last subscriber had it, for each publication that reached anybody:
    /// of those at the rate, and of the broadcasts, each from the fastest to the slowest.
    pub fn spreads(&self) -> [Vec<u32>; 2] {
        let all = &self.tally.spreads;
        let (usual, broadcasts) = all.split_at(all.len().min(self.first_broadcast as usize));
        [usual, broadcasts].map(|spreads| {
            let reached = spreads.iter().filter(|spread| spread.received > 0);
            let mut micros: Vec<u32> = reached.map(|spread| spread.last_micros).collect();
            micros.sort_unstable();
            micros
        })
    }

    /// Whether this process or an agent had more to do than it could.
    pub fn is_client_saturated(&self) -> bool {
        let is_any_agent = self.agents.iter().any(|agent| agent.is_saturated);
        is_any_agent || self.client.saturated_share >= SATURATED
    }
}

impl ServerUse {
    /// Resident memory that came with the connections.
    pub fn grown(&self) -> u64 {
        self.resident.saturating_sub(self.resident_before)
    }
}

impl Publications {
    /// Adds what another publisher has counted.
    pub fn merge(&mut self, other: Publications) {
        self.due += other.due;
        self.published += other.published;
        self.failed += other.failed;
        self.failures.merge(&other.failures);
        self.late_micros_max = self.late_micros_max.max(other.late_micros_max);
    }
}

/// What the server used.
#[derive(Clone, Debug, Default)]
pub struct ServerUse {
    /// Processor time while publications were due, until the last had arrived.
    pub cpu: Duration,
    /// The largest resident memory seen, in bytes.
    pub resident: u64,
    /// The same before anybody had connected.
    pub resident_before: u64,
    /// The kernel's slab and socket buffers of all connections, in bytes: of both ends where the
    /// server runs on this machine.
    pub kernel: u64,
    /// Whether `kernel` has both ends.
    pub kernel_is_both_ends: bool,
    /// Share of the seconds in which one of its threads always ran or waited for a processor, or of
    /// the deliveries in these seconds, if that is more.
    pub saturated_share: f64,
    /// For each second since the run's epoch.
    pub seconds: Vec<UseSecond>,
}

/// What the load tester used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientUse {
    /// Processor time while publications were due, until the last had arrived.
    pub cpu: Duration,
    /// The largest resident memory seen, in bytes.
    pub resident: u64,
    /// The same before anybody was connected.
    pub resident_before: u64,
    /// Share of the seconds in which one of its threads always ran or waited for a processor, or of
    /// the deliveries in these seconds, if that is more.
    pub saturated_share: f64,
    /// For each second since the run's epoch.
    pub seconds: Vec<UseSecond>,
}

impl ClientUse {
    /// Adds what another machine used. All are as saturated as the most saturated one.
    pub fn merge(&mut self, other: &ClientUse) {
        self.cpu += other.cpu;
        self.resident += other.resident;
        self.resident_before += other.resident_before;
        self.saturated_share = self.saturated_share.max(other.saturated_share);
        if self.seconds.len() < other.seconds.len() {
            self.seconds.resize(other.seconds.len(), UseSecond::default());
        }
        for (own, other) in self.seconds.iter_mut().zip(&other.seconds) {
            own.processors += other.processors;
            own.resident += other.resident;
        }
    }
}

/// What a process used in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UseSecond {
    /// Processors in use: 1.5 is one and a half.
    pub processors: f64,
    /// Resident memory at its end, in bytes.
    pub resident: u64,
}

/// Another machine that took part.
#[derive(Clone, Debug)]
pub struct AgentNote {
    /// Its address.
    pub address: String,
    /// How far its clock was ahead of ours, in microseconds.
    pub clock_offset_micros: i64,
    /// By how much that estimate may be wrong.
    pub clock_error_micros: u64,
    /// Whether it was saturated.
    pub is_saturated: bool,
}

/// A process counts as saturated from this share of saturated seconds or deliveries on.
pub const SATURATED: f64 = 0.05;
