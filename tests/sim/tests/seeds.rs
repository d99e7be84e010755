//! 200 seeds of faults; and the proof that a seed is the whole truth, and that bugs are found.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use swarm_tests_sim::{Options, Sabotage, run};

/// Seeds in every run of the tests.
const SEEDS: u64 = 200;
/// Seeds within which a bug that was put in by hand has to be found.
const ENOUGH: u64 = 150;

/// Runs seeds from 0 on all processors until one breaks an invariant or `seeds` have passed.
fn search(seeds: u64, sabotage: Option<Sabotage>) -> Option<(u64, String)> {
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let one_thread = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return None;
            }
            let outcome = run(Options {
                seed,
                sabotage,
                keep_trace: false,
            });
            if let Some(violation) = outcome.violation {
                next.store(seeds, Ordering::Relaxed);
                return Some((seed, violation));
            }
        }
    };
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
        let mut found = started
            .into_iter()
            .filter_map(|thread| thread.join().expect("a run does not panic"));
        found.next()
    })
}

#[test]
fn two_hundred_seeds_break_no_invariant() {
    if let Some((seed, violation)) = search(SEEDS, None) {
        panic!("seed {seed}: {violation}\nagain: cargo xtask sim --seed {seed} --trace");
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in [1, 7] {
        let options = Options {
            seed,
            keep_trace: true,
            ..Options::default()
        };
        let (first, second) = (run(options), run(options));
        let differing = first.trace.iter().zip(&second.trace);
        let difference = differing.clone().find(|(one, two)| one != two);
        assert_eq!(difference, None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        assert!(first.events > 100, "seed {seed}: {} events", first.events);
    }
}

#[test]
fn another_seed_gives_other_events() {
    let digest = |seed| {
        let options = Options {
            seed,
            ..Options::default()
        };
        run(options).digest
    };
    assert_ne!(digest(3), digest(4));
}

/// The invariant that breaks, in its words.
fn found(sabotage: Sabotage) -> String {
    let (_seed, violation) = search(ENOUGH, Some(sabotage)).expect("the bug is found");
    violation
}

/// Which invariant breaks first depends on the seed: two histories, two leaders, a member that never catches up.
#[test]
fn a_vote_that_is_not_synced_is_found() {
    found(Sabotage::VoteNotSynced);
}

#[test]
fn entries_acknowledged_before_they_are_synced_are_found() {
    found(Sabotage::AppendNotSynced);
}

#[test]
fn an_address_given_twice_is_found() {
    let violation = found(Sabotage::AddressTwice);
    assert!(violation.contains("is given to"), "{violation}");
}

#[test]
fn a_removed_node_that_is_listened_to_is_found() {
    let violation = found(Sabotage::RemovalsForgotten);
    assert!(violation.contains("which was removed at"), "{violation}");
}

#[test]
fn stale_reads_are_found() {
    let violation = found(Sabotage::StaleReads);
    assert!(violation.contains("a read saw the state at"), "{violation}");
}
