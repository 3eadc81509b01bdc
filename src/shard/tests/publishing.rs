//! Publishers: places, answers, and how soon things happen.

use std::sync::Arc;

use super::{
    super::{JournalEnd, Now},
    world::{Plan, World},
};
use crate::{
    frame::Format,
    ids::{Bucket, Epoch, ShardId},
    io::sim::SimBell,
    journal::{self, Compaction, Landed},
    limits::PUBLICATIONS_PER_TURN_MAX,
    mesh::{Parking, Rejected},
};

/// Every publication is answered, whether a turn's share is full, one short or one over.
#[test]
fn a_full_turns_answers_are_announced() {
    for count in [1, PUBLICATIONS_PER_TURN_MAX - 1, PUBLICATIONS_PER_TURN_MAX] {
        for count in [count, count + 1, 2 * count] {
            let mut world = World::new(Plan { places: 1000, ..Plan::default() });
            let client = world.join(0, Format::Sse, 0);
            world.settle();
            (0..count).for_each(|n| world.tell(0, format!("{n}").as_bytes()));
            world.settle();
            assert_eq!((world.unanswered(), world.clients[client].frames), (0, count));
        }
    }
}

/// A publication that comes while a shard is about to lie down is not slept over.
#[test]
fn whoever_lies_down_looks_for_publications() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut world = World::new(Plan { seed, ..Plan::default() });
        world.join(0, Format::Sse, 0);
        for n in 0..10 {
            (0..world.dice.below(4)).for_each(|_| _ = world.step(1000));
            world.tell(0, format!("{n}").as_bytes());
        }
        world.settle();
        assert_eq!(world.unanswered(), 0);
    }
}

/// A place is taken until its answer was heard; beyond that a publication comes back, and what
/// was taken is not disturbed.
#[test]
fn places_are_given_back_by_answers() {
    let mut world = World::new(Plan { places: 3, ..Plan::default() });
    let client = world.join(0, Format::WebSocket, 0);
    world.settle();
    assert_eq!([0, 1, 2, 3].map(|n| world.publish(0, &[b'0' + n])), [true, true, true, false]);
    world.wake_home(0);
    (0..4).for_each(|_| _ = world.step(1000));
    assert!(!world.publish(0, b"answered, but not heard"));
    world.take_answers(0);
    assert!(world.publish(0, b"4"));
    world.wake_home(0);
    world.settle();
    assert_eq!((world.unanswered(), world.clients[client].frames), (0, 4));
    world.check_rest();
}

/// On one shard a request is answered in the turn that reads it, and a publication is with all
/// its subscribers at the end of the turn that takes it.
#[test]
fn nothing_waits_for_another_turn() {
    let mut world = World::new(Plan { sleepy: false, ..Plan::default() });
    let clients: Vec<usize> = (0..30).map(|n| world.join(0, Format::ALL[n % 2], 0)).collect();
    // One turn accepts, the next reads.
    (0..2).for_each(|_| _ = world.step(1000));
    assert_eq!(world.live(|_| true).count(), 30);
    world.tell(0, b"at once");
    world.step(1000);
    assert!(clients.iter().all(|&client| world.clients[client].frames == 1));
}

/// What was held back while a channel was congested goes on as soon as it is not, although nothing
/// else happens then.
#[test]
fn what_is_held_back_goes_on_by_itself() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world =
            World::new(Plan { seed, places: 1000, lag_bytes_max: 10_000, ..Plan::default() });
        let client = world.join(0, Format::Sse, 0);
        world.settle();
        let count = PUBLICATIONS_PER_TURN_MAX + 10;
        (0..count).for_each(|n| world.tell(0, format!("{n}").as_bytes()));
        world.settle();
        assert_eq!((world.unanswered(), world.clients[client].frames), (0, count));
    }
}

/// Every file that has grown is written anew, whatever else lands in the same turn.
///
/// Method: what lands in one turn is told by the test, which holds the journal's other end.
#[test]
fn each_file_that_has_grown_is_written_anew() {
    const MIB: u64 = 1 << 20;
    let mut world = World::new(Plan::default());
    let parking = Parking::new(Arc::new(SimBell::default()));
    let (writer, landings, intake) = journal::queues(8, &[parking]);
    let landing = Arc::clone(&landings[0]);
    let shard = &mut world.nodes[0].shard;
    shard.setup.journal = Some(JournalEnd { epoch: Epoch(1), writer, landing });
    let full = Err(Rejected::DiskFull);
    for (bucket, offset, result, file_bytes) in [
        (1, 10, Ok(()), MIB),
        (2, 20, full, MIB),
        (3, 30, Ok(()), MIB),
        (3, 31, Ok(()), MIB),
        (4, 40, Ok(()), MIB - 1),
        (5, 50, full, MIB),
    ] {
        let bucket = Bucket(bucket);
        intake.land(ShardId(0), Landed { bucket, offset, result, file_bytes });
    }
    shard.turn(Now { us: 0 });
    let asked = std::iter::from_fn(|| intake.take_compaction(ShardId(0)));
    let compaction = |bucket, as_of| {
        let bucket = Bucket(bucket);
        Compaction { bucket, as_of, floors: vec![], kept: vec![] }
    };
    assert_eq!(asked.collect::<Vec<_>>(), [compaction(1, 10), compaction(3, 30)]);
}
