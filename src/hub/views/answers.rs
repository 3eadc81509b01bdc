//! What homes answer: that a view is live, where a reader begins, that there is no room.

use super::{News, Started, Views, join::Asking};
use crate::{
    hub::{Beginning, Reader, ReaderSet, ViewId},
    ids::{Epoch, Position},
    log::{Place, Window},
    resume::{Begun, Start},
};

impl Views {
    pub(super) fn on_live(&mut self, id: ViewId, head: Place, epoch: Epoch, room: usize) -> News {
        if self.view(id).is_some_and(|view| view.live) {
            return self.on_renumbered(id.index, head, epoch, room);
        }
        let Some(view) = self.table.get_mut(id.index as usize).filter(|view| view.is(id)) else {
            return News::Nothing;
        };
        (view.live, view.epoch) = (true, epoch);
        view.window = Window::at(head, view.window.is_sparse());
        (view.sweep.goal, view.sweep.served) = (head.mark.byte, head.mark.byte);
        let is_asking = |reader: &Reader| self.asking.contains_key(reader);
        let mut readers = ReaderSet::default();
        for reader in view.members.iter().filter(|reader| !is_asking(reader)) {
            self.subscribers[reader.index()].begin(head.mark);
            readers.insert(reader);
        }
        let channel = view.name.clone().expect("the view is taken");
        let position = Position { epoch, offset: head.before };
        let begun = Begun { position, gap: None };
        News::Started(Started { readers, channel, begun, resumed: false })
    }

    pub(super) fn on_begin(
        &mut self,
        id: ViewId,
        beginning: &Beginning,
        room: usize,
        now_us: u64,
    ) -> News {
        let Beginning { reader, number, mark, begun, extents } = beginning;
        let asking = self.asking.get(reader).filter(|asking| asking.number == *number);
        let Some(Asking { start, is_lapped, .. }) =
            asking.copied().filter(|_| self.view(id).is_some())
        else {
            return News::Nothing;
        };
        self.asking.remove(reader);
        for extent in extents {
            if let News::Lapped(lapped) = self.on_extent(id, extent.clone(), room, now_us) {
                self.rests.extend(lapped);
            }
        }
        self.change_window(id.index, |window| window.add_older(extents));
        let history = extents.iter().map(|extent| extent.bytes.capacity()).sum();
        let view = &mut self.table[id.index as usize];
        view.history = view.history.max(history);
        let is_ahead = begun.position.offset > view.window.head().before;
        let subscriber = &mut self.subscribers[reader.index()];
        let skipped = (mark.frames as u32).wrapping_sub(subscriber.frames);
        subscriber.begin(*mark);
        if is_ahead {
            self.ahead.entry(id.index).or_default().push((*reader, begun.position.offset));
        }
        self.file(*reader, id.index);
        self.activate(id.index);
        if is_lapped {
            self.go_on(*reader, skipped, begun);
            return News::Nothing;
        }
        let channel = self.table[id.index as usize].name.clone().expect("the view is taken");
        let mut readers = ReaderSet::default();
        readers.insert(*reader);
        let resumed = matches!(start, Start::Since(_));
        News::Started(Started { readers, channel, begun: *begun, resumed })
    }

    pub(super) fn on_refused(&mut self, id: ViewId) -> News {
        let Some(view) = self.view(id) else {
            return News::Nothing;
        };
        let members = std::mem::take(&mut view.members);
        let channel = view.name.clone().expect("the view is taken");
        let mut slots = Vec::new();
        for reader in members.iter() {
            let subscriber = &mut self.subscribers[reader.index()];
            *subscriber = subscriber.without_view();
            self.asking.remove(&reader);
            slots.push(self.owner(reader));
            self.free_reader(reader);
        }
        self.free_view(id.index);
        News::Refused(channel, slots)
    }
}
