//! A thousand worlds, each from its seed: see `docs/simulation.md`.

use stentor_sim::{Story, run};

/// Whatever networks, clocks, disks and clients do, every subscriber hears exactly what it must, and
/// what was acknowledged is there after a crash.
///
/// Method: whole worlds at random, judged by a book of everything that was published. The sums say
/// that the method reaches what it is for.
fn judge(seeds: std::ops::Range<u64>) {
    let mut story = Story::default();
    seeds.for_each(|seed| story += run(seed, false));
    println!("{story:?}");
    let Story { heard, gaps, resumed, recovered, compactions } = story;
    assert!(heard > 100_000 && gaps > 1000 && compactions > 200, "{story:?}");
    assert!(recovered > 1000 && resumed > recovered + 500, "{story:?}");
}

#[test]
fn every_subscriber_hears_what_it_must() {
    judge(0..500);
}

/// The same again with other seeds, so that two cores share them.
#[test]
fn every_subscriber_hears_what_it_must_again() {
    judge(500..1000);
}

/// A seed gives the same world again, or a failure could not be looked at.
#[test]
fn a_seed_repeats_itself() {
    for seed in 0..30 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
