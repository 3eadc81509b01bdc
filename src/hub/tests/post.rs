//! Messages between homes and views, by inboxes that may be full.

use super::*;

impl World {
    /// Homes and views say what they owe, into inboxes that may be full.
    pub fn tell(&mut self, from: usize) {
        let count = self.shards.len();
        let nobody = views(Policies::default(), 0, 0);
        let mut views = std::mem::replace(&mut self.shards[from].views, nobody);
        views.tell(|message| {
            let (Message::Interest { channel, .. } | Message::Ask { channel, .. }) = &message
            else {
                panic!("views tell of nothing else")
            };
            let home = self.home_of(channel);
            push(&mut self.shards[home].inbox, self.capacity, message)
        });
        self.shards[from].views = views;
        for target in 0..count {
            let mut inbox = std::mem::take(&mut self.shards[target].inbox);
            self.shards[from]
                .home
                .tell(ShardId(target as u16), |message| push(&mut inbox, self.capacity, message));
            self.shards[target].inbox = inbox;
        }
    }
}

fn push(inbox: &mut VecDeque<Message>, capacity: usize, message: Message) -> Result<(), Message> {
    if inbox.len() >= capacity {
        return Err(message);
    }
    inbox.push_back(message);
    Ok(())
}
