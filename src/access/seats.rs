//! How many connections each subject has, over all shards.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Grants, Refused};

/// What a connection holds that came with a token.
#[derive(Debug)]
pub struct Bearer {
    /// What its token grants.
    pub grants: Arc<Grants>,
    /// Its seat, where its subject may have so many only.
    pub seat: Option<Seat>,
}

/// One connection of a subject; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    subject: Box<str>,
    seats: Arc<Seats>,
}

/// Seats that are taken, by subject. There are no more than connections.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<HashMap<Box<str>, u32>>,
}

impl Seats {
    /// A seat for one more connection, if the token limits them.
    pub fn take(self: &Arc<Self>, grants: &Grants) -> Result<Option<Seat>, Refused> {
        let (Some(subject), Some(max)) = (&grants.subject, grants.connections) else {
            return Ok(None);
        };
        let mut taken = self.taken();
        let count = taken.get(subject).copied().unwrap_or(0);
        if count >= max {
            return Err(Refused::TooManyConnections);
        }
        taken.insert(subject.clone(), count + 1);
        Ok(Some(Seat { subject: subject.clone(), seats: Arc::clone(self) }))
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Box<str>, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        match taken.get_mut(&self.subject) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = taken.remove(&self.subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(subject: &str, connections: Option<u32>) -> Grants {
        Grants { subject: Some(subject.into()), connections, ..Grants::default() }
    }

    /// Exactly as many as there may be, from any number of threads; one more for each that leaves; and
    /// subjects without connections are forgotten.
    #[test]
    fn seats_are_exact_over_threads() {
        let seats = Arc::new(Seats::default());
        let held: Vec<Seat> = std::thread::scope(|scope| {
            let take = || {
                let ten = grants("anna", Some(10));
                (0..10).filter_map(|_| seats.take(&ten).ok().flatten()).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(held.len(), 10);
        let eleven = grants("anna", Some(11));
        let one_more = seats.take(&eleven).unwrap();
        assert_eq!(seats.take(&eleven).err(), Some(Refused::TooManyConnections));
        assert!(seats.take(&grants("bert", Some(1))).unwrap().is_some(), "another subject");
        drop(one_more);
        assert!(seats.take(&eleven).unwrap().is_some());
        assert!(seats.take(&grants("anna", None)).unwrap().is_none(), "not limited, not counted");
        assert!(seats.take(&grants("carl", Some(0))).is_err());
        drop(held);
        assert!(seats.taken().is_empty());
    }
}
