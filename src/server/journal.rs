//! The journal's place in the server: opened before anything else, shared out over the shards, and
//! written by a thread of its own that ends after them.

use std::{
    io,
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use super::{News, Parting, ServerError};
use crate::{
    config::Config,
    ids::{Bucket, ShardId},
    journal::{Journal, Keeper, Restored},
    mesh::Parking,
    shard::{Heritage, JournalEnd},
};

/// What one shard takes over from an earlier run: its buckets, their last offsets, their records.
pub(super) type Heritages = Vec<(Bucket, Heritage)>;

/// A journal that was opened, before its thread runs.
pub(super) struct Opened {
    journal: Journal,
    restored: Restored,
}

/// A journal whose thread runs.
pub(super) struct Working {
    pub thread: JoinHandle<()>,
    /// Who may have it rest.
    pub keeper: Option<Keeper>,
}

/// What each shard is given of it, in their order.
pub(super) type Ends = Vec<(Option<JournalEnd>, Heritages)>;

impl Opened {
    /// Opens the journal in `dir`.
    pub fn at(dir: &Path) -> Result<Opened, ServerError> {
        let (journal, restored) = Journal::open(dir)?;
        tracing::info!("journal {}: {}", dir.display(), restored.told);
        Ok(Opened { journal, restored })
    }

    /// Shares it out over the shards that `parkings` wake, and starts its thread.
    fn start(
        self,
        places: usize,
        parkings: &[Arc<Parking>],
        tell: &mpsc::Sender<News>,
    ) -> io::Result<(Ends, Working)> {
        let Opened { mut journal, restored } = self;
        let shards = parkings.len() as u16;
        let (writer, landings) = journal.parts(places, parkings);
        let keeper = journal.keeper();
        let Restored { epoch, offsets, floors, records, .. } = restored;
        let end = |landing| {
            let writer = writer.clone();
            (Some(JournalEnd { epoch, writer, landing }), Heritages::new())
        };
        let mut ends: Ends = landings.into_iter().map(end).collect();
        for (number, records) in (0..=u8::MAX).zip(records) {
            let bucket = Bucket(number);
            let ShardId(home) = bucket.home(shards);
            let (last, floor) = (offsets[usize::from(number)], floors[usize::from(number)]);
            ends[usize::from(home)].1.push((bucket, Heritage { last, floor, records }));
        }
        let tell = tell.clone();
        let run = move || {
            let mut parting = Parting(&tell, Some(News::JournalEnded("it panicked".into())));
            parting.1 = journal.run().err().map(|error| News::JournalEnded(error.to_string()));
        };
        let thread = thread::Builder::new().name("journal".into()).spawn(run)?;
        Ok((ends, Working { thread, keeper }))
    }
}

/// What each shard is given of the journal, whose thread begins, if there is one.
pub(super) fn begin(
    journal: Option<Opened>,
    config: &Config,
    parkings: &[Arc<Parking>],
    tell: &mpsc::Sender<News>,
) -> io::Result<(Ends, Option<Working>)> {
    let Some(journal) = journal else {
        return Ok((parkings.iter().map(|_| (None, Heritages::new())).collect(), None));
    };
    let (ends, working) = journal.start(config.publish_queue as usize, parkings, tell)?;
    Ok((ends, Some(working)))
}
