//! Values that may change while the server runs, such as settings that were reloaded.
//!
//! Whoever changes one puts a whole new value in its place. Whoever uses it has a [`Reader`] of its
//! own, which looks for a newer value when it is told to and holds on to the one that it found: a
//! shard does so once per turn, for one atomic load, so that nothing changes within a turn.
//!
//! Vocabulary: imports nothing of ours.
#![forbid(unsafe_code)]

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A value that many threads use and that may be replaced.
#[derive(Debug)]
pub struct Live<T> {
    current: Mutex<Arc<T>>,
    /// How often it was replaced.
    changes: AtomicU64,
}

impl<T> Live<T> {
    /// This value, until it is replaced.
    pub fn new(value: T) -> Arc<Self> {
        Arc::new(Live { current: Mutex::new(Arc::new(value)), changes: AtomicU64::new(0) })
    }

    /// Puts another value in its place. Readers that sleep find it when they next look.
    pub fn replace(&self, value: T) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(value);
        // Counted under the lock, so that who has seen the count finds this value or a newer one.
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more user of the value.
    pub fn reader(self: &Arc<Self>) -> Reader<T> {
        let seen = self.changes.load(Ordering::Acquire);
        Reader { seen, current: self.get(), live: Arc::clone(self) }
    }
}

/// The value as one of its users last saw it.
#[derive(Debug)]
pub struct Reader<T> {
    live: Arc<Live<T>>,
    seen: u64,
    current: Arc<T>,
}

impl<T> Reader<T> {
    /// Takes the newest value. Says whether it may be another one than before.
    pub fn refresh(&mut self) -> bool {
        let changes = self.live.changes.load(Ordering::Acquire);
        let is_news = changes != self.seen;
        if is_news {
            self.seen = changes;
            self.current = self.live.get();
        }
        is_news
    }
}

impl<T> Deref for Reader<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.current
    }
}

impl<T> From<T> for Reader<T> {
    /// A value that nobody will replace.
    fn from(value: T) -> Self {
        Live::new(value).reader()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader keeps what it has until it looks, then has the newest, and hears of news once.
    #[test]
    fn readers_see_news_when_they_look() {
        let live = Live::new(1);
        let (mut early, mut idle) = (live.reader(), live.reader());
        assert!(!early.refresh());
        live.replace(2);
        live.replace(3);
        assert_eq!((*early, *live.get(), *live.reader()), (1, 3, 3));
        assert_eq!((early.refresh(), *early, early.refresh()), (true, 3, false));
        assert_eq!((*idle, idle.refresh(), *idle), (1, true, 3));
    }
}
