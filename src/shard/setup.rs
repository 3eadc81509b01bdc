//! What a shard is given.

use std::sync::Arc;

use super::{Admission, Drain, JournalEnd};
use crate::{
    counters::Counters,
    hub::Message,
    ids::{Epoch, ShardId},
    live::Reader,
    mesh::{Ingress, Mesh, Parking, Questions},
    policy::Pattern,
    report::Question,
    session::Rules,
};

/// What a shard is given at its start.
pub struct Setup {
    /// Which one it is.
    pub id: ShardId,
    /// The numbering of its publications.
    pub epoch: Epoch,
    /// What its sessions live by, as of the turn.
    pub rules: Reader<Rules>,
    /// Everybody's inboxes.
    pub mesh: Mesh<Message>,
    /// Publications from outside, an entry per shard.
    pub ingresses: Arc<[Ingress]>,
    /// What inputs bring: for each, an entry per shard.
    pub inputs: Arc<[Arc<[Ingress]>]>,
    /// Those inputs whose channels a bus numbers, by number, and the channels that they may feed.
    pub numbered: Vec<(u16, Vec<Pattern>)>,
    /// Questions from outside, an entry per shard.
    pub questions: Arc<[Questions<Question>]>,
    /// The way to the disk, where a journal is kept.
    pub journal: Option<JournalEnd>,
    /// When the server started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Counters, an entry per shard.
    pub counters: Arc<[Counters]>,
    /// How others know that it sleeps.
    pub parking: Arc<Parking>,
    /// How many connections there may be, over all shards.
    pub admission: Arc<Admission>,
    /// When the server stops.
    pub drain: Arc<Drain>,
}
