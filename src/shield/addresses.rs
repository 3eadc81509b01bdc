//! What each address has, and how fast it asks for more: one table for all shards.
//!
//! Touched once per accept, request and close, never per delivery. An address is an IPv4 address or
//! the first 64 bits of an IPv6 one, of which whoever has one mostly has all.
//!
//! Bounded: an address that has connections is one of at most as many; of those that have none
//! [`IDLE_ADDRESSES_MAX`] are remembered, so that who connects and leaves at once does not begin anew,
//! and the one that was left alone longest is forgotten first.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hashbrown::HashTable;

use super::{Bucket, Excess, Limits};
use crate::{ids::Tick, limits::IDLE_ADDRESSES_MAX};

/// Parts of the table, each with its lock, so that shards seldom meet at one.
const STRIPES: usize = 64;

const _: () = assert!(IDLE_ADDRESSES_MAX >= STRIPES && STRIPES.is_power_of_two());

/// All addresses that have something.
#[derive(Debug)]
pub struct Addresses {
    stripes: Box<[Mutex<Stripe>]>,
    /// Keyed anew in each process: peers choose addresses.
    hasher: RandomState,
}

/// Where a connection's address stands in the table, as long as the connection counts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// Of a connection that does not count.
    pub const NONE: Place = Place(u32::MAX);

    fn new(stripe: usize, entry: u32) -> Place {
        Place(entry * STRIPES as u32 + stripe as u32)
    }

    fn stripe(self) -> usize {
        self.0 as usize % STRIPES
    }

    fn entry(self) -> usize {
        self.0 as usize / STRIPES
    }
}

#[derive(Debug, Default)]
struct Stripe {
    by_origin: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Those that had no connection at some time, the longest ago first; each once.
    idle: VecDeque<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    origin: u64,
    connections: u32,
    is_in_idle: bool,
    connects: Bucket,
    requests: Bucket,
    channels: Bucket,
    bytes: usize,
}

impl Default for Addresses {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Addresses { stripes, hasher: RandomState::new() }
    }
}

impl Addresses {
    /// A connection came from this address. It counts until [`Addresses::leave`].
    pub fn enter(&self, address: IpAddr, limits: &Limits, now: Tick) -> Result<Place, Excess> {
        if !limits.counts_addresses() || limits.spares(address) {
            return Ok(Place::NONE);
        }
        let origin = origin(address);
        let hash = self.hasher.hash_one(origin);
        // The table's own bits of a hash are others.
        let stripe = (hash >> 32) as usize % STRIPES;
        let place = self.lock(stripe).enter(origin, hash, limits, now, &self.hasher)?;
        Ok(Place::new(stripe, place))
    }

    /// A connection that counted is over.
    pub fn leave(&self, place: Place) {
        if place != Place::NONE {
            self.lock(place.stripe()).leave(place.entry(), &self.hasher);
        }
    }

    /// The connection's address asks for something once more.
    pub fn request(&self, place: Place, limits: &Limits, now: Tick) -> Result<(), Excess> {
        self.take(place, now, limits.requests, Excess::Requests, |entry| &mut entry.requests)
    }

    /// The connection's address asks for a channel that nobody reads.
    pub fn name_channel(&self, place: Place, limits: &Limits, now: Tick) -> Result<(), Excess> {
        self.take(place, now, limits.channels, Excess::Channels, |entry| &mut entry.channels)
    }

    /// Of the bytes that are kept for the connection's address there are now so many instead of so
    /// many. They count whether or not there are too many.
    pub fn hold(
        &self,
        place: Place,
        before: usize,
        after: usize,
        limits: &Limits,
    ) -> Result<(), Excess> {
        if place == Place::NONE || before == after {
            return Ok(());
        }
        let mut stripe = self.lock(place.stripe());
        let bytes = &mut stripe.entries[place.entry()].bytes;
        *bytes = (*bytes + after).saturating_sub(before);
        let is_too_much = after > before && limits.bytes > 0 && *bytes > limits.bytes;
        if is_too_much { Err(Excess::Bytes) } else { Ok(()) }
    }

    /// Addresses that have connections which count.
    pub fn len(&self) -> usize {
        let count = |stripe: usize| {
            self.lock(stripe).entries.iter().filter(|entry| entry.connections > 0).count()
        };
        (0..STRIPES).map(count).sum()
    }

    /// Whether no connection counts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(
        &self,
        place: Place,
        now: Tick,
        rate: u32,
        excess: Excess,
        bucket: fn(&mut Entry) -> &mut Bucket,
    ) -> Result<(), Excess> {
        if place == Place::NONE || rate == 0 {
            return Ok(());
        }
        let mut stripe = self.lock(place.stripe());
        let permitted = bucket(&mut stripe.entries[place.entry()]).take(rate, now);
        if permitted { Ok(()) } else { Err(excess) }
    }

    fn lock(&self, stripe: usize) -> MutexGuard<'_, Stripe> {
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stripe {
    fn enter(
        &mut self,
        origin: u64,
        hash: u64,
        limits: &Limits,
        now: Tick,
        hasher: &RandomState,
    ) -> Result<u32, Excess> {
        let index = self.find_or_add(origin, hash, hasher);
        let entry = &mut self.entries[index as usize];
        let outcome = if limits.connections > 0 && entry.connections >= limits.connections {
            Err(Excess::Connections)
        } else if !entry.connects.take(limits.connects, now) {
            Err(Excess::Connects)
        } else {
            entry.connections += 1;
            Ok(index)
        };
        self.tidy(index as usize, hasher);
        outcome
    }

    fn leave(&mut self, index: usize, hasher: &RandomState) {
        self.entries[index].connections -= 1;
        self.tidy(index, hasher);
    }

    fn find_or_add(&mut self, origin: u64, hash: u64, hasher: &RandomState) -> u32 {
        let Stripe { by_origin, entries, free, .. } = self;
        if let Some(&index) = by_origin.find(hash, |&at| entries[at as usize].origin == origin) {
            return index;
        }
        let entry = Entry {
            origin,
            connections: 0,
            is_in_idle: false,
            connects: Bucket::default(),
            requests: Bucket::default(),
            channels: Bucket::default(),
            bytes: 0,
        };
        let index = match free.pop() {
            Some(index) => {
                entries[index as usize] = entry;
                index
            }
            None => {
                entries.push(entry);
                entries.len() as u32 - 1
            }
        };
        by_origin.insert_unique(hash, index, |&at| hasher.hash_one(entries[at as usize].origin));
        index
    }

    /// Remembers an address without connections, and forgets others if there are too many.
    fn tidy(&mut self, index: usize, hasher: &RandomState) {
        let entry = &mut self.entries[index];
        if entry.connections > 0 || entry.is_in_idle {
            return;
        }
        entry.is_in_idle = true;
        self.idle.push_back(index as u32);
        if self.idle.len() <= IDLE_ADDRESSES_MAX / STRIPES {
            return;
        }
        let Some(oldest) = self.idle.pop_front() else { return };
        let entry = &mut self.entries[oldest as usize];
        entry.is_in_idle = false;
        if entry.connections == 0 {
            let hash = hasher.hash_one(entry.origin);
            if let Ok(found) = self.by_origin.find_entry(hash, |&at| at == oldest) {
                found.remove();
                self.free.push(oldest);
            }
        }
    }
}

/// What counts as one address. No sender has a multicast address, so those stand for IPv4.
fn origin(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => 0xffff_ffff << 32 | u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { exempt: "127.0.0.0/8".parse().unwrap(), ..Limits::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// As many connections of an address as there may be, one more for each that leaves, and none of
    /// it concerns another address: another IPv4 one, or another /64.
    #[test]
    fn connections_of_an_address_are_limited() {
        let (addresses, limits) = (Addresses::default(), Limits { connections: 2, ..limits() });
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
        ] {
            let enter = |address| addresses.enter(ip(address), &limits, Tick(0));
            let (first, second) = (enter(one).unwrap(), enter(same).unwrap());
            assert_eq!(enter(one), Err(Excess::Connections));
            let another = enter(other).unwrap();
            addresses.leave(first);
            let third = enter(same).unwrap();
            assert_eq!(enter(same), Err(Excess::Connections));
            assert_eq!(addresses.len(), 2);
            [second, third, another].into_iter().for_each(|place| addresses.leave(place));
            assert!(addresses.is_empty());
        }
        for _ in 0..10 {
            assert_eq!(addresses.enter(ip("127.0.0.1"), &limits, Tick(0)), Ok(Place::NONE));
        }
        addresses.leave(Place::NONE);
    }

    /// Who connects and leaves at once is counted on, and permits come back.
    #[test]
    fn coming_again_is_limited() {
        let (addresses, limits) = (Addresses::default(), Limits { connects: 3, ..limits() });
        let come = |now| {
            let place = addresses.enter(ip("192.0.2.1"), &limits, Tick(now))?;
            addresses.leave(place);
            Ok(())
        };
        let came = (0..100).filter(|_| come(0).is_ok()).count();
        assert_eq!((came, come(0)), (30, Err(Excess::Connects)));
        assert_eq!((0..100).filter(|_| come(10).is_ok()).count(), 3);
    }

    /// Requests and new channels are limited for all connections of an address together.
    #[test]
    fn what_an_address_asks_for_is_limited() {
        let limits = Limits { requests: 1, channels: 2, ..limits() };
        let addresses = Addresses::default();
        let places = [(); 2].map(|()| addresses.enter(ip("192.0.2.1"), &limits, Tick(0)).unwrap());
        let other = addresses.enter(ip("192.0.2.2"), &limits, Tick(0)).unwrap();
        let asked = (0..100).filter(|n| addresses.request(places[n % 2], &limits, Tick(0)).is_ok());
        assert_eq!(asked.count(), 10);
        let named =
            (0..100).filter(|n| addresses.name_channel(places[n % 2], &limits, Tick(0)).is_ok());
        assert_eq!(named.count(), 20);
        assert_eq!(addresses.request(other, &limits, Tick(0)), Ok(()));
        assert_eq!(addresses.request(Place::NONE, &limits, Tick(0)), Ok(()));
    }

    /// Bytes of all connections of an address count together; who makes them too many hears it, and
    /// giving back is never too much.
    #[test]
    fn bytes_of_an_address_are_limited() {
        let (addresses, limits) = (Addresses::default(), Limits { bytes: 100, ..limits() });
        let places = [(); 2].map(|()| addresses.enter(ip("192.0.2.1"), &limits, Tick(0)).unwrap());
        let hold = |n: usize, before, after| addresses.hold(places[n], before, after, &limits);
        assert_eq!((hold(0, 0, 60), hold(1, 0, 40)), (Ok(()), Ok(())));
        assert_eq!(hold(1, 40, 41), Err(Excess::Bytes));
        assert_eq!((hold(1, 41, 40), hold(0, 60, 0), hold(1, 40, 100)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(addresses.hold(Place::NONE, 0, 1000, &limits), Ok(()));
    }

    /// However many addresses come and go, as many are remembered as may be, each found by its own.
    #[test]
    fn addresses_that_left_are_forgotten() {
        let (addresses, limits) = (Addresses::default(), Limits { connections: 1, ..limits() });
        let stays = addresses.enter(ip("192.0.2.1"), &limits, Tick(0)).unwrap();
        for n in 0..3 * IDLE_ADDRESSES_MAX as u32 {
            let address = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            addresses.leave(addresses.enter(address, &limits, Tick(0)).unwrap());
        }
        let kept: usize =
            addresses.stripes.iter().map(|it| it.lock().unwrap().by_origin.len()).sum();
        assert_eq!(kept, IDLE_ADDRESSES_MAX + 1);
        let room: usize = addresses.stripes.iter().map(|it| it.lock().unwrap().entries.len()).sum();
        assert!(room <= IDLE_ADDRESSES_MAX + 1 + STRIPES, "{room}");
        assert_eq!(
            addresses.enter(ip("192.0.2.1"), &limits, Tick(0)),
            Err(Excess::Connections),
            "who stays is not forgotten"
        );
        addresses.leave(stays);
        assert!(addresses.enter(ip("192.0.2.1"), &limits, Tick(0)).is_ok());
    }
}
