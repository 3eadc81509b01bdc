//! Telling how many subscribers a channel has, where its policy says so.

use std::collections::{HashMap, VecDeque};

use super::Home;
use crate::{
    frame::PayloadKind,
    ids::ChannelName,
    mesh::{Asker, Publish, Ticket},
    policy::{PRESENCE_SUFFIX, PatternId},
};

/// Microseconds between two publications of one channel's presence.
const EVERY_US: u64 = 1_000_000;

/// Channels whose presence is told.
#[derive(Default)]
pub(super) struct Presence {
    by_name: HashMap<ChannelName, Known>,
    /// Channels whose presence may have changed.
    due: VecDeque<ChannelName>,
}

struct Known {
    /// The number that was told last.
    told: u64,
    /// When the next may be told, in microseconds.
    next_us: u64,
    /// Whether the channel stands in the queue.
    is_due: bool,
}

impl Home {
    /// The number of a channel's subscribers may have changed.
    pub(super) fn on_presence(&mut self, name: &ChannelName, pattern: PatternId) {
        if !self.policy(pattern).presence {
            return;
        }
        let Presence { by_name, due } = &mut self.presence;
        let unknown = Known { told: 0, next_us: 0, is_due: false };
        let known = by_name.entry(name.clone()).or_insert(unknown);
        if !std::mem::replace(&mut known.is_due, true) {
            due.push_back(name.clone());
        }
    }

    /// When the next presence may be told, in microseconds.
    pub(super) fn presence_due(&self) -> Option<u64> {
        let known = |name| self.presence.by_name.get(name).map_or(0, |known| known.next_us);
        self.presence.due.front().map(known)
    }

    /// Publishes the presence of channels where it has changed, each at most once a second, until
    /// `push` gives a publication back.
    pub fn tell_presence(
        &mut self,
        now_us: u64,
        mut push: impl FnMut(Publish) -> Result<(), Publish>,
    ) {
        for _ in 0..self.presence.due.len() {
            let Some(name) = self.presence.due.pop_front() else { break };
            let channel = self.channels.get(&name);
            let now = channel.map_or(0, |channel| channel.subscribers());
            let Some(known) = self.presence.by_name.get_mut(&name) else { continue };
            if known.next_us > now_us {
                // Whoever stands behind it waits too, for a second at most.
                self.presence.due.push_front(name);
                break;
            }
            known.is_due = false;
            if known.told != now
                && let Some(publish) = presence(&name, now)
            {
                if push(publish).is_err() {
                    known.is_due = true;
                    self.presence.due.push_front(name);
                    break;
                }
                (known.told, known.next_us) = (now, now_us + EVERY_US);
            }
            if now == 0 {
                self.presence.by_name.remove(&name);
            }
        }
    }
}

/// What is told of a channel that nobody reads. Whoever tells this and is read by nobody need not be
/// kept: there can be as many channels as names, and each would have one that tells its presence.
pub(super) const NOBODY: &[u8] = br#"{"subscribers":0}"#;

/// The publication of a presence, unless the name is too long to have one.
fn presence(name: &ChannelName, subscribers: u64) -> Option<Publish> {
    let channel = ChannelName::new(&format!("{name}{PRESENCE_SUFFIX}")).ok()?;
    let payload = format!(r#"{{"subscribers":{subscribers}}}"#).into();
    let (asker, ticket, kind) = (Asker::Nobody, Ticket(0), PayloadKind::Json);
    Some(Publish { asker, ticket, channel, kind, payload, terms: None, position: None })
}
