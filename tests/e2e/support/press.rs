//! A publisher that never pauses, and a book of what it was told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{Publisher, Server, eventually};

/// The positions of publications, by their numbers, as the publisher was told them.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Vec<String>>>);

impl Book {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The position of this one, once the publisher knows it; readers may be faster.
    #[track_caller]
    pub fn position(&self, number: usize) -> String {
        eventually("a publisher is answered", || self.0.lock().unwrap().get(number).cloned())
    }

    /// Which one has this position.
    #[track_caller]
    pub fn number(&self, position: &str) -> usize {
        eventually("a publisher is answered", || {
            self.0.lock().unwrap().iter().rposition(|known| known == position)
        })
    }
}

/// A publisher of one channel that never pauses.
pub struct Press {
    /// What it was told.
    pub book: Book,
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Press {
    /// Runs one that publishes these texts; the first was published when this returns.
    pub fn run(server: &Server, channel: &str, text: fn(usize) -> String) -> Press {
        let (book, over) = (Book::default(), Arc::new(AtomicBool::new(false)));
        let (to, told, control) = (book.clone(), Arc::clone(&over), server.control);
        let channel = channel.to_owned();
        let thread = thread::spawn(move || {
            let mut publisher = Publisher::to(control);
            for number in 0.. {
                if told.load(Ordering::SeqCst) {
                    break;
                }
                let (position, _) = publisher.publish(&channel, text(number).as_bytes());
                to.0.lock().unwrap().push(position);
            }
        });
        book.position(0);
        Press { book, over, thread }
    }

    /// Stops it.
    pub fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().expect("it only publishes");
    }
}
