//! The channel that a bus sequence feeds: the home reads the bus, later than other edges do.

use super::*;

impl World {
    pub fn tell_home(&mut self, news: SequenceNews) {
        let home = self.home_of(&ChannelName::new(CHANNELS[FED]).unwrap());
        self.shards[home].home.on_sequence(news, 0);
    }

    /// The bus has a record more, or loses some that were not read; the home reads some, one or the
    /// other again.
    pub fn feed(&mut self, number: u64) {
        let book = &mut self.book[FED];
        let last = book.last().map_or(0, |(_, offset)| offset.0);
        book.push((number, Offset(last + 1 + self.dice.below(3) as u128)));
        let unread = self.book[FED].len() - self.read;
        if self.dice.below(8) == 0 && unread > 3 {
            return self.lose(unread - 1);
        }
        if unread > self.dice.below(6) {
            self.read_record(self.read);
        }
        if self.dice.below(6) == 0 {
            let again = self.read.saturating_sub(1 + self.dice.below(5));
            self.read_record(again);
        }
    }

    /// The home reads a record, perhaps again.
    fn read_record(&mut self, at: usize) {
        let Some(&(number, offset)) = self.book[FED].get(at) else { return };
        if self.lost.contains(&at) {
            return;
        }
        let name = ChannelName::new(CHANNELS[FED]).unwrap();
        let home = self.home_of(&name);
        let mut publish = plain(&name, number.to_string().as_bytes());
        let position = Position { epoch: SEQUENCE, offset };
        publish.position = Some(position);
        let home = &mut self.shards[home].home;
        home.publish(publish, 0);
        let accepted = home.next_answer().expect("answered at once").1.outcome.expect("taken");
        assert_eq!((accepted.position, accepted.repeated), (position, at < self.read));
        self.read = self.read.max(at + 1);
    }

    /// The bus trims what the home has not read, but for the newest.
    fn lose(&mut self, count: usize) {
        let (read, book) = (self.read, &self.book[FED]);
        let from = read.checked_sub(1).map_or(Offset(0), |last| book[last].1);
        let to = book[read + count - 1].1;
        self.lost.extend(read..read + count);
        self.read += count;
        self.tell_home(SequenceNews::Hole { epoch: SEQUENCE, from, to });
    }

    /// The home reads all that the bus has.
    pub fn catch_up(&mut self) {
        while self.read < self.book[FED].len() {
            self.read_record(self.read);
        }
    }
}
