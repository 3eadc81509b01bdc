//! One stream of an input: from what a round brought to publications.

use super::{
    Feed,
    id::Id,
    progress::{Change, Progress},
    reply::{Entry, Record, Summary},
};
use crate::{ids::Position, inputs::Skip, logs::limited};

/// One stream.
pub(super) struct Key {
    pub name: String,
    /// How far it was read, once it is known where to begin.
    progress: Option<Progress>,
    /// The newest that it had when the connection was made, which is to be read before we are ready.
    target: Id,
    /// Whether it was.
    pub is_caught_up: bool,
    has_fallen_back: bool,
}

/// What is the same for all streams of an input.
pub(super) struct Way {
    /// The input's name.
    pub input: Box<str>,
    /// The field that is the payload.
    pub payload_field: String,
    /// Whether positions are those of the stream.
    pub is_numbered: bool,
}

/// What one round brought of one stream.
pub(super) struct Round {
    /// Everything behind what was read before, or the first of it.
    pub entries: Vec<Entry>,
    /// The state of the stream behind that; none if there is no such stream.
    pub summary: Option<Summary>,
}

impl Key {
    pub(super) fn new(name: String) -> Self {
        Key { name, progress: None, target: Id(0), is_caught_up: false, has_fallen_back: false }
    }

    /// The id behind which is to be read.
    pub(super) fn last(&self) -> Id {
        self.progress.as_ref().map_or(Id(0), |progress| progress.last)
    }

    /// A connection was made, and this is the stream now. Says whether it is known where to go on.
    pub(super) fn on_connected(&mut self, summary: Option<&Summary>) -> bool {
        self.target = summary.map_or(Id(0), |summary| summary.last);
        self.is_caught_up = summary.is_none();
        match &mut self.progress {
            Some(progress) => {
                progress.on_connected();
                true
            }
            None => false,
        }
    }

    /// It is read from behind `last`.
    pub(super) async fn begin(
        &mut self,
        last: Id,
        summary: Option<&Summary>,
        way: &Way,
        feed: &mut Feed,
    ) {
        let progress = Progress::new(&self.name, last, summary);
        if way.is_numbered {
            feed.begin(progress.epoch, None, last.offset(), known(&self.name)).await;
        }
        self.progress = Some(progress);
    }

    /// Publishes what a round brought. Returns how many entries wait at the server, if that is known.
    pub(super) async fn take(&mut self, round: Round, way: &Way, feed: &mut Feed) -> Option<u64> {
        let Round { entries, summary } = round;
        let Some(summary) = summary else {
            self.is_caught_up = true;
            return Some(0);
        };
        if self.look(&summary, way, feed).await {
            return None;
        }
        let progress = self.progress.as_mut()?;
        let ids: Vec<Id> = entries.iter().map(|entry| entry.id).collect();
        match progress.hole(&ids, &summary) {
            Some((from, to)) if way.is_numbered => {
                feed.hole(progress.epoch, from.offset(), to.offset()).await;
            }
            Some((from, to)) => {
                feed.state().on_hole();
                limited!(
                    warn,
                    "input",
                    "input {}: stream {} was trimmed before it was read, behind {from} up to {to}",
                    way.input,
                    self.name
                );
            }
            None => (),
        }
        let epoch = progress.epoch;
        for entry in &entries {
            let position = Position { epoch, offset: entry.id.offset() };
            put(feed, &self.name, entry, way, position).await;
        }
        progress.advance(&ids, &summary);
        self.is_caught_up |= ids.is_empty() || progress.last >= self.target;
        progress.lag(&summary)
    }

    /// Looks whether it is still the stream that it was. True: it has begun anew.
    async fn look(&mut self, summary: &Summary, way: &Way, feed: &mut Feed) -> bool {
        let Some(progress) = &mut self.progress else { return false };
        match progress.look(&self.name, summary) {
            Change::None => {
                self.has_fallen_back = false;
                false
            }
            Change::FellBack { to } => {
                if !std::mem::replace(&mut self.has_fallen_back, true) {
                    let (name, last) = (&self.name, progress.last);
                    limited!(
                        warn,
                        "input",
                        "input {}: stream {name} ends at {to} now, and {last} was read already; \
                         what is added up to there will be missed",
                        way.input
                    );
                }
                false
            }
            Change::MadeAnew { epoch, replaces, floor } => {
                let name = &self.name;
                limited!(
                    warn,
                    "input",
                    "input {}: stream {name} was made anew, and its ids went back; it is read from \
                     its beginning, as another",
                    way.input
                );
                if way.is_numbered {
                    feed.begin(epoch, Some(replaces), floor.offset(), known(name)).await;
                }
                true
            }
        }
    }
}

async fn put(feed: &mut Feed, stream: &str, entry: &Entry, way: &Way, position: Position) {
    let Some(payload) = entry.value(way.payload_field.as_bytes()) else {
        feed.on_record(0);
        let (id, field) = (entry.id, &way.payload_field);
        let why =
            format!("entry {id} of stream {stream} has no field '{field}'; see the key `field`");
        return feed.skip(Skip::Malformed, &why);
    };
    let position = way.is_numbered.then_some(position);
    feed.put(&Record { stream, entry }, payload.clone(), position).await;
}

/// What is the same for all entries of a stream.
fn known(stream: &str) -> impl Fn(&str) -> Option<String> {
    move |field| (field == "stream").then(|| stream.to_owned())
}
