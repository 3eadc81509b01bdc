//! Channels that bus sequences number: readers from an edge that is further, and channels that begin
//! anew.

use super::{
    Lapped, News, Rest, Views,
    reader::{LAPPED, WAITING},
};
use crate::{
    hub::Reader,
    ids::Epoch,
    limits::CUT_FRAME_BYTES_MAX,
    log::{Place, Window},
};

impl Views {
    /// Lets readers that are ahead of a view pass over what they have already, before they are served.
    /// To be called whenever the view has learnt of more.
    pub(super) fn pass_over(&mut self, index: u32) {
        let Some(ahead) = self.ahead.get_mut(&index) else { return };
        let (window, subscribers) = (&self.table[index as usize].window, &mut self.subscribers);
        let head = window.head().before;
        ahead.retain(|&(reader, offset)| {
            let subscriber = &mut subscribers[reader.index()];
            if !subscriber.has(LAPPED | WAITING) {
                subscriber.begin(window.behind(offset).mark);
            }
            offset > head
        });
        if ahead.is_empty() {
            self.ahead.remove(&index);
        }
    }

    /// A reader is ahead no more, or has gone.
    pub(super) fn stop_ahead(&mut self, reader: Reader, index: u32) {
        let Some(ahead) = self.ahead.get_mut(&index) else { return };
        ahead.retain(|(it, _)| *it != reader);
        if ahead.is_empty() {
            self.ahead.remove(&index);
        }
    }

    /// The channel has begun anew under another numbering, and its stream with it. Where nothing was
    /// ever sent, nobody need know; otherwise readers leave, and are told to resume.
    pub(super) fn on_renumbered(
        &mut self,
        index: u32,
        head: Place,
        epoch: Epoch,
        mut room: usize,
    ) -> News {
        let view = &self.table[index as usize];
        let is_blank = view.window.is_blank();
        // Who asks where to begin is told of the new stream; who asks where to go on was in the old.
        let has_begun = |reader: &Reader| self.asking.get(reader).is_none_or(|it| it.is_lapped);
        let begun: Vec<Reader> = view.members.iter().filter(has_begun).collect();
        let mut left = Vec::new();
        for reader in begun {
            if is_blank {
                self.subscribers[reader.index()].begin(head.mark);
                continue;
            }
            let channel = self.channel_of(reader).cloned();
            let slot = self.owner(reader);
            let parting = self.leave(reader, room.min(CUT_FRAME_BYTES_MAX));
            if let Rest::Kept(bytes) = &parting.rest {
                room = room.saturating_sub(bytes.len());
            }
            left.push(Lapped { slot, rest: parting.rest, left: channel.zip(parting.position) });
        }
        self.ahead.remove(&index);
        let sparse = self.table[index as usize].window.is_sparse();
        self.change_window(index, |window| *window = Window::at(head, sparse));
        let view = &mut self.table[index as usize];
        view.epoch = epoch;
        (view.sweep.goal, view.sweep.served) = (head.mark.byte, head.mark.byte);
        self.weigh(index);
        if left.is_empty() { News::Nothing } else { News::Renumbered(left) }
    }
}
