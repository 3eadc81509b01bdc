//! What the settings come to on this machine: which kernel, how many shards, how large the tables.

use std::{fmt, thread};

use crate::{
    config::{Auto, Config, IoChoice},
    io::{
        probe::{
            self, Probe, Problem,
            room::{self, CONNECTIONS_UNLESS_TOLD, FILES_KEPT, Room},
        },
        uring,
    },
    journal,
};

/// What was decided at the start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The way into the kernel, and what is known of it.
    pub engine: Engine,
    /// Threads that serve subscribers.
    pub shards: u16,
    /// Connections over all shards.
    pub connections_max: u32,
    /// Connections that would be served if the limit of open files had room for them.
    pub connections_wanted: u32,
    /// The sizes of each shard's rings and tables.
    pub rings: uring::Setup,
    /// Open files that the process may have, besides those of its journal and of all but one of each
    /// shard's listeners.
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
    /// More connections than the limit of open files has room for on epoll.
    #[error(
        "--io epoll holds {held} connections here, {FILES_KEPT} less than the limit of open \
         files, and --max-connections asks for {wanted}; raise the limit (ulimit -n {needed}; \
         LimitNOFILE={needed}), or use --io uring, which does not need it"
    )]
    TooFewFiles {
        /// Connections that can be held.
        held: u32,
        /// Connections that were asked for.
        wanted: u32,
        /// The limit that it would take.
        needed: u64,
    },
    /// Open files for everything else, and none for connections.
    #[error(
        "no connection can be held with a limit of {nofile} open files; {wanted} take {needed} \
         (ulimit -n {needed}; LimitNOFILE={needed})"
    )]
    NoRoom {
        /// Connections that were asked for.
        wanted: u32,
        /// The limit of open files.
        nofile: u64,
        /// The limit that it would take.
        needed: u64,
    },
    /// More connections than the limit of open files has room for on io_uring.
    #[error(
        "io_uring holds {held} connections on {shards} shards here, with a limit of {nofile} open \
         files, and --max-connections asks for {wanted}; raise the limit (ulimit -n {needed}; \
         LimitNOFILE={needed})"
    )]
    TooFewFilesForRings {
        /// Connections that can be held.
        held: u32,
        /// Connections that were asked for.
        wanted: u32,
        /// Threads that serve them.
        shards: u16,
        /// The limit of open files.
        nofile: u64,
        /// The limit that it would take.
        needed: u64,
    },
}

impl Plan {
    /// Decides, raising the limit of open files as far as it goes.
    pub fn new(config: &Config) -> Result<Plan, PlanError> {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let shards = config.shards.or(u16::try_from(cores.min(256)).unwrap_or(256));
        let journal = if config.journal.0.is_some() { journal::FILES_MAX } else { 0 };
        // What a shard needs for its first listener is counted with its rings.
        let addresses = (config.listen.0.len() + config.listen_tls.0.len()) as u64;
        // A successor may ask for each of them.
        let kept = if config.takeover.0.is_some() { addresses } else { 0 };
        let listeners = u64::from(shards) * (addresses.saturating_sub(1) + kept);
        let nofile = probe::nofile().saturating_sub(journal + listeners);
        let wanted = config.max_connections;
        let engine = match config.io {
            IoChoice::Epoll => Engine::Epoll { instead: None },
            io => {
                let held = rings_hold(wanted, shards, nofile)?;
                choose(io, &Room::of(held, shards, nofile).setup, shards)?
            }
        };
        let connections_max = match &engine {
            Engine::Uring(_) => rings_hold(wanted, shards, nofile)?,
            Engine::Epoll { .. } => epoll_holds(wanted, nofile)?,
        };
        let connections_wanted = wanted.or(CONNECTIONS_UNLESS_TOLD);
        let rings = Room::of(connections_max, shards, nofile).setup;
        let plan = Plan { engine, shards, connections_max, connections_wanted, rings, nofile };
        plan.tell_what_is_lowered();
        Ok(plan)
    }

    /// Whether the limit of open files allows fewer connections than were wanted.
    pub fn is_lowered(&self) -> bool {
        self.connections_max < self.connections_wanted
    }

    fn tell_what_is_lowered(&self) {
        if !self.is_lowered() {
            return;
        }
        let Plan { connections_max, connections_wanted, nofile, .. } = self;
        let needed = match self.engine {
            Engine::Uring(_) => room::files_needed(self.connections_wanted, self.shards),
            Engine::Epoll { .. } => room::files_needed_on_epoll(self.connections_wanted),
        };
        tracing::warn!(
            "serving {connections_max} connections at most, not {connections_wanted}: the limit \
             of {nofile} open files has room for no more (ulimit -n {needed}; \
             LimitNOFILE={needed})"
        );
    }
}

fn choose(io: IoChoice, rings: &uring::Setup, shards: u16) -> Result<Engine, PlanError> {
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

/// Connections to serve on io_uring.
fn rings_hold(wanted: Auto<u32>, shards: u16, nofile: u64) -> Result<u32, PlanError> {
    let held = room::most(shards, nofile);
    held_of(wanted, held).ok_or_else(|| {
        let wanted = wanted.or(CONNECTIONS_UNLESS_TOLD);
        let needed = room::files_needed(wanted, shards);
        match held {
            0 => PlanError::NoRoom { wanted, nofile, needed },
            _ => PlanError::TooFewFilesForRings { held, wanted, shards, nofile, needed },
        }
    })
}

/// Connections to serve on epoll.
fn epoll_holds(wanted: Auto<u32>, nofile: u64) -> Result<u32, PlanError> {
    let held = room::most_on_epoll(nofile);
    held_of(wanted, held).ok_or_else(|| {
        let wanted = wanted.or(CONNECTIONS_UNLESS_TOLD);
        let needed = room::files_needed_on_epoll(wanted);
        match held {
            0 => PlanError::NoRoom { wanted, nofile, needed },
            _ => PlanError::TooFewFiles { held, wanted, needed },
        }
    })
}

/// Connections to serve where `held` can be: fewer only if nobody has said how many, and not none.
fn held_of(wanted: Auto<u32>, held: u32) -> Option<u32> {
    match wanted {
        Auto::Auto => (held > 0).then_some(held.min(CONNECTIONS_UNLESS_TOLD)),
        Auto::Exactly(wanted) => (wanted <= held).then_some(wanted),
    }
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

    /// epoll takes what it can hold, and refuses more with the limit that it would take.
    #[test]
    fn epoll_is_bounded_by_open_files() {
        assert_eq!(epoll_holds(Auto::Auto, 20_000).unwrap(), 19_800);
        assert_eq!(epoll_holds(Auto::Auto, 10_000_000).unwrap(), 100_000);
        assert_eq!(epoll_holds(Auto::Exactly(824), 1024).unwrap(), 824);
        let refused = epoll_holds(Auto::Exactly(825), 1024).unwrap_err().to_string();
        assert!(refused.contains("holds 824 ") && refused.contains("ulimit -n 1025"), "{refused}");
    }

    /// At a low limit there are more rings, then fewer connections, and at last an error that says
    /// what to type.
    #[test]
    fn rings_are_bounded_by_open_files() {
        for (nofile, connections, rings) in [
            (256, 11_860, 25),
            (400, 74_418, 97),
            (512, 100_000, 102),
            (1024, 100_000, 51),
            (20_000, 100_000, 3),
        ] {
            let held = rings_hold(Auto::Auto, 2, nofile).unwrap();
            assert_eq!((held, Room::of(held, 2, nofile).setup.rings()), (connections, rings));
            assert_eq!(rings_hold(Auto::Exactly(held), 2, nofile).unwrap(), held);
        }
        let refused = rings_hold(Auto::Exactly(100_000), 2, 256).unwrap_err().to_string();
        assert!(refused.contains("asks for 100000"), "{refused}");
        assert!(refused.contains("ulimit -n 442"), "{refused}");
    }

    /// Where nothing can be held nothing starts, and the error says what to type.
    #[test]
    fn no_connections_are_no_plan() {
        for nofile in [0, 64, 200] {
            let refused = rings_hold(Auto::Auto, 2, nofile).unwrap_err().to_string();
            assert!(
                refused.starts_with("no connection ") && refused.contains("ulimit -n "),
                "{refused}"
            );
            let refused = epoll_holds(Auto::Auto, nofile).unwrap_err().to_string();
            assert!(refused.contains("ulimit -n 100200"), "{refused}");
        }
    }
}
