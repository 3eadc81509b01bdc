//! What the settings come to on this machine: which kernel, how many shards, how large the tables.

use std::{fmt, thread};

use crate::{
    config::{Auto, Config, IoChoice},
    io::{
        probe::{self, Probe, Problem},
        uring,
    },
};

/// Connections where the setting is `auto`.
const CONNECTIONS_UNLESS_TOLD: u32 = 100_000;

/// Descriptors that epoll leaves for everything but connections.
const EPOLL_SPARE: u64 = 200;

/// What was decided at the start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The way into the kernel, and what is known of it.
    pub engine: Engine,
    /// Threads that serve subscribers.
    pub shards: u16,
    /// Connections over all shards.
    pub connections_max: u32,
    /// The sizes of each shard's rings and tables.
    pub rings: uring::Setup,
    /// Open files that the process may have.
    pub nofile: u64,
}

/// The way into the kernel.
#[derive(Clone, Debug)]
pub enum Engine {
    /// io_uring, as it was found.
    Uring(Box<Probe>),
    /// epoll.
    Epoll {
        /// Why not io_uring, where that was not a choice.
        instead: Option<Problem>,
    },
}

/// The settings ask for what this machine cannot give.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlanError {
    /// `--io uring` where it is not to be had.
    #[error("{0}")]
    NoUring(Problem),
    /// More connections than epoll has descriptors for.
    #[error(
        "--io epoll holds {held} connections here, {EPOLL_SPARE} less than the limit of open \
         files, and --max-connections asks for {wanted}; raise the limit (ulimit -n {needed}; \
         LimitNOFILE={needed}), or use --io uring, which does not need it"
    )]
    TooFewFiles {
        /// Connections that can be held.
        held: u32,
        /// Connections that were asked for.
        wanted: u32,
        /// The limit of open files that it would take.
        needed: u64,
    },
}

impl Plan {
    /// Decides, raising the limit of open files as far as it goes.
    pub fn new(config: &Config) -> Result<Plan, PlanError> {
        let nofile = probe::raise_nofile().unwrap_or_else(|_| probe::Machine::read().nofile);
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let shards = config.shards.or(u16::try_from(cores.min(256)).unwrap_or(256));
        let wanted = config.max_connections.or(CONNECTIONS_UNLESS_TOLD);
        let rings = uring::Setup::new(table_slots(wanted, shards), nofile);
        let engine = choose(config.io, &rings, shards)?;
        let connections_max = match &engine {
            Engine::Uring(_) => wanted,
            Engine::Epoll { .. } => epoll_holds(config.max_connections, nofile)?,
        };
        Ok(Plan { engine, shards, connections_max, rings, nofile })
    }
}

fn choose(io: IoChoice, rings: &uring::Setup, shards: u16) -> Result<Engine, PlanError> {
    if io == IoChoice::Epoll {
        return Ok(Engine::Epoll { instead: None });
    }
    match probe::probe(rings, shards) {
        Ok(probe) => Ok(Engine::Uring(Box::new(probe))),
        Err(problem) if io == IoChoice::Uring => Err(PlanError::NoUring(problem)),
        Err(problem) => {
            tracing::warn!("{problem}");
            tracing::warn!("using epoll instead, since --io is auto");
            Ok(Engine::Epoll { instead: Some(problem) })
        }
    }
}

fn epoll_holds(wanted: Auto<u32>, nofile: u64) -> Result<u32, PlanError> {
    let held = u32::try_from(nofile.saturating_sub(EPOLL_SPARE)).unwrap_or(u32::MAX);
    match wanted {
        Auto::Auto => Ok(held.min(CONNECTIONS_UNLESS_TOLD)),
        Auto::Exactly(wanted) if wanted > held => {
            let needed = u64::from(wanted) + EPOLL_SPARE;
            Err(PlanError::TooFewFiles { held, wanted, needed })
        }
        Auto::Exactly(wanted) => Ok(wanted),
    }
}

/// Slots of one shard's table: its share, room for an uneven spread (the kernel hashes; four
/// standard deviations), and a fiftieth more in which to answer 503.
fn table_slots(connections: u32, shards: u16) -> u32 {
    let share = connections.div_ceil(u32::from(shards));
    let spread = if shards == 1 { 0 } else { 4 * share.isqrt() + 16 };
    let usable = connections.min(share + spread);
    usable + usable / 48 + 16
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Engine::Uring(probe) => write!(f, "{probe}"),
            Engine::Epoll { instead: None } => write!(f, "epoll, as --io says"),
            Engine::Epoll { instead: Some(_) } => {
                write!(f, "epoll, since io_uring is not to be had here (see above)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shard's table holds its share with room to spare, and 2 % more for refusals.
    #[test]
    fn tables_have_room_for_spread_and_refusals() {
        for (connections, shards) in [(1, 1), (1, 2), (10, 2), (100_000, 2), (1_050_000, 64)] {
            let slots = table_slots(connections, shards);
            let usable = slots - slots / 50;
            let share = connections.div_ceil(u32::from(shards));
            assert!(usable >= share.min(connections) && slots / 50 + 1 < slots);
            assert!(shards == 1 || usable >= connections.min(share + 4 * share.isqrt()));
        }
    }

    /// epoll takes what it can hold, and refuses more with the limit that it would take.
    #[test]
    fn epoll_is_bounded_by_open_files() {
        assert_eq!(epoll_holds(Auto::Auto, 20_000).unwrap(), 19_800);
        assert_eq!(epoll_holds(Auto::Auto, 10_000_000).unwrap(), 100_000);
        assert_eq!(epoll_holds(Auto::Exactly(824), 1024).unwrap(), 824);
        let refused = epoll_holds(Auto::Exactly(825), 1024).unwrap_err().to_string();
        assert!(refused.contains("holds 824 ") && refused.contains("ulimit -n 1025"), "{refused}");
    }
}
