//! What connections need of the limit of open files, and how many it has room for. Pure, and the
//! same for the server's plan and the doctor, so that the two cannot disagree.
//!
//! On io_uring connections are no descriptors: what counts is each ring, whose table holds no more
//! connections than the limit, and what a shard has besides. On epoll each connection is one.

use crate::{io::uring::Setup, limits::FILES_PER_SHARD};

pub use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_UNLESS_TOLD, FILES_KEPT};

/// What connections need on io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The sizes of each shard's rings and tables.
    pub setup: Setup,
    /// Descriptors in all, with those kept for everything else.
    pub files: u64,
    /// The limit that they are held against.
    nofile: u64,
}

impl Room {
    /// What `connections` on `shards` need where a process may have `nofile` files open. A lower
    /// limit makes for more rings.
    pub fn of(connections: u32, shards: u16, nofile: u64) -> Room {
        let setup = Setup::new(table_slots(connections, shards), nofile);
        let files = FILES_KEPT + u64::from(shards) * files_per_shard(&setup);
        Room { setup, files, nofile }
    }

    /// Whether the limit suffices.
    pub fn fits(&self) -> bool {
        self.files <= self.nofile
    }
}

/// The most connections that `nofile` open files have room for on io_uring; possibly none.
pub fn most(shards: u16, nofile: u64) -> u32 {
    let fits = |connections| Room::of(connections, shards, nofile).fits();
    let (mut held, mut refused) = (0, CONNECTIONS_MAX + 1);
    while refused - held > 1 {
        let middle = held.midpoint(refused);
        *(if fits(middle) { &mut held } else { &mut refused }) = middle;
    }
    held
}

/// The least limit of open files that has room for so many connections on io_uring.
pub fn files_needed(connections: u32, shards: u16) -> u64 {
    let fits = |nofile| Room::of(connections, shards, nofile).fits();
    let (mut refused, mut held) = (0, u64::from(u32::MAX));
    while held - refused > 1 {
        let middle = held.midpoint(refused);
        *(if fits(middle) { &mut held } else { &mut refused }) = middle;
    }
    held
}

/// The most connections that `nofile` open files have room for on epoll; possibly none.
pub fn most_on_epoll(nofile: u64) -> u32 {
    u32::try_from(nofile.saturating_sub(FILES_KEPT)).unwrap_or(u32::MAX)
}

/// The least limit of open files that has room for so many connections on epoll.
pub fn files_needed_on_epoll(connections: u32) -> u64 {
    u64::from(connections) + FILES_KEPT
}

/// Slots of one shard's table: its share, room for an uneven spread (the kernel hashes; four
/// standard deviations), and a fiftieth more in which to answer 503.
pub fn table_slots(connections: u32, shards: u16) -> u32 {
    let share = connections.div_ceil(u32::from(shards));
    let spread = if shards == 1 { 0 } else { 4 * share.isqrt() + 16 };
    let usable = connections.min(share + spread);
    usable + usable / 48 + 16
}

/// Several rings share an eventfd by which they wake their shard.
fn files_per_shard(setup: &Setup) -> u64 {
    let rings = u64::from(setup.rings());
    FILES_PER_SHARD + rings + u64::from(rings > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shard's table holds its share with room to spare, and 2 % more for refusals.
    #[test]
    fn tables_have_room_for_spread_and_refusals() {
        for (connections, shards) in [(1, 1), (1, 2), (10, 2), (100_000, 2), (1_050_000, 64)] {
            let slots = table_slots(connections, shards);
            let usable = slots - slots / 50;
            let share = connections.div_ceil(u32::from(shards));
            assert!(usable >= share.min(connections) && slots / 50 + 1 < slots);
            assert!(shards == 1 || usable >= connections.min(share + 4 * share.isqrt()));
        }
    }

    /// A low limit makes for more rings, and these are counted.
    #[test]
    fn rings_are_held_against_the_limit() {
        for (nofile, rings, files) in
            [(256, 204, 614), (400, 130, 466), (512, 102, 410), (1024, 51, 308), (20_000, 3, 212)]
        {
            let room = Room::of(100_000, 2, nofile);
            assert_eq!((room.setup.rings(), room.files), (rings, files), "{nofile}");
            assert_eq!(room.fits(), files <= nofile);
        }
    }

    /// The most that fits does fit, and one more does not; the least limit suffices, and one less
    /// does not.
    #[test]
    fn the_inverse_is_exact() {
        for shards in [1, 2, 3, 64, 256] {
            for nofile in [0, 64, 200, 256, 300, 400, 512, 1024, 4096, 20_000] {
                let most = most(shards, nofile);
                let fits = |connections| Room::of(connections, shards, nofile).fits();
                assert!(most == 0 || fits(most), "{most} on {shards} at {nofile}");
                assert!(most == CONNECTIONS_MAX || !fits(most + 1), "{most} on {shards}");
            }
            for connections in [1, 1000, 100_000, CONNECTIONS_MAX] {
                let needed = files_needed(connections, shards);
                assert!(Room::of(connections, shards, needed).fits(), "{needed}");
                assert!(!Room::of(connections, shards, needed - 1).fits(), "{needed}");
            }
        }
    }
}
