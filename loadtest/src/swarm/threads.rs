//! The threads of subscribers of this process.
//!
//! They end with the run's stage, which is over at the latest when [`Threads`] is dropped: no
//! subscriber outlives whoever began it.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use stentor::io::uring::OpenError;

use super::{Share, Swarm};
use crate::{
    shared::{Shared, Stage},
    tally::Tally,
};

/// The threads of subscribers of this process.
pub struct Threads {
    shared: Arc<Shared>,
    swarms: Vec<JoinHandle<Result<Tally, SwarmError>>>,
}

/// Why a thread of subscribers failed.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// Its rings could not be opened.
    #[error("opening a ring for subscribers failed: {0}")]
    Ring(#[from] OpenError),
    /// TLS cannot be spoken as it is asked for.
    #[error("subscribing by TLS failed: {0}")]
    Tls(String),
    /// The kernel would not go on.
    #[error("driving subscribers failed: {0}")]
    Drive(#[source] io::Error),
}

impl Threads {
    /// Begins a thread for each share. The n-th has the n-th gauges.
    pub fn begin(shared: &Arc<Shared>, shares: impl Iterator<Item = Share>) -> Threads {
        let swarms = shares.enumerate().map(|(thread, share)| {
            let shared = shared.clone();
            thread::spawn(move || {
                let swarm = Swarm::open(shared, share, thread)?;
                swarm.run().map_err(SwarmError::Drive)
            })
        });
        Threads { swarms: swarms.collect(), shared: shared.clone() }
    }

    /// Fails if one of them has.
    pub fn check(&mut self) -> Result<(), SwarmError> {
        let ended = self.swarms.iter().position(JoinHandle::is_finished);
        // Before the run is over, a thread ends only by failing.
        ended.map_or(Ok(()), |at| join(self.swarms.swap_remove(at)).map(drop))
    }

    /// Ends the run, and adds up what they have counted.
    pub fn finish(mut self) -> Result<Tally, SwarmError> {
        self.shared.stage.advance(Stage::Over);
        let mut tally = Tally::default();
        while let Some(swarm) = self.swarms.pop() {
            tally.merge(join(swarm)?);
        }
        Ok(tally)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stage.advance(Stage::Over);
        for swarm in self.swarms.drain(..) {
            let _ = swarm.join();
        }
    }
}

fn join(swarm: JoinHandle<Result<Tally, SwarmError>>) -> Result<Tally, SwarmError> {
    swarm.join().expect("a swarm does not panic")
}
