use alloc::{collections::BTreeSet, format, string::ToString as _, vec, vec::Vec};

use super::*;
use crate::{testing::SeededRandom, time::Timestamp};

fn ids(keys: &[NamedKey]) -> Vec<KeyId> {
    keys.iter().map(|key| key.id).collect()
}

#[test]
fn an_unlock_key_survives_printing_and_parsing() {
    let mut rng = SeededRandom::new(3);
    for _ in 0..100 {
        let key = SecretKey::random(&mut rng);
        let text = key.to_human();
        assert_eq!(text.len(), "SWMKEY-1-".len() + 43);
        assert_eq!(text.parse(), Ok(key));
    }
    let known = SecretKey::from_slice(&[0xfb; 32]).unwrap();
    let text = "SWMKEY-1-+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s";
    assert_eq!(known.to_human(), text);
}

#[test]
fn what_is_no_unlock_key_is_refused_without_quoting_it() {
    let good = SecretKey::random(&mut SeededRandom::new(4)).to_human();
    for (text, expected) in [
        ("", InvalidUnlockKey::Form),
        ("wrong", InvalidUnlockKey::Form),
        ("SWMKEY-1-!", InvalidUnlockKey::Form),
        ("SWMKEY-1-A", InvalidUnlockKey::Form),
        ("SWMKEY-1-", InvalidUnlockKey::Length),
        ("SWMKEY-1-abcd", InvalidUnlockKey::Length),
        (&format!("{good}="), InvalidUnlockKey::Form),
        (&format!("{good}A"), InvalidUnlockKey::Length),
        (&good[9..], InvalidUnlockKey::Form),
    ] {
        assert_eq!(text.parse::<SecretKey>(), Err(expected), "{text}");
        let rest = text.strip_prefix("SWMKEY-1-").unwrap_or(text);
        assert!(rest.is_empty() || !expected.to_string().contains(rest));
    }
}

#[test]
fn a_key_is_not_printed() {
    let key = SecretKey::from_slice(&[200; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "SecretKey(..)");
}

/// Turning locking on makes a key, rotating another one, turning it off forgets it; anything else leaves the lock alone.
#[test]
fn the_lock_follows_updates_of_the_cluster() {
    let mut rng = SeededRandom::new(5);
    let off = ManagerLock::default();
    assert_eq!(
        off.clone().updated(false, true, Timestamp(9), &mut rng),
        off
    );
    let on = off.updated(true, false, Timestamp(9), &mut rng);
    assert_eq!(on.version, 9);
    assert!(on.key.is_some());
    assert_eq!(on.clone().updated(true, false, Timestamp(10), &mut rng), on);
    // the clock stepped back
    let rotated = on.clone().updated(true, true, Timestamp(3), &mut rng);
    assert_eq!(rotated.version, 10);
    assert_ne!(rotated.key, on.key);
    let off = rotated.updated(false, true, Timestamp(20), &mut rng);
    assert_eq!((off.version, off.key), (20, None));
}

/// A manager with its disk: what is written is what `Step` says, and it may stop after any step.
struct Disk {
    held: Held,
    /// What the node's private key is sealed with.
    node_key: Option<KeyId>,
    rng: SeededRandom,
}

impl Disk {
    fn new(seed: u64) -> Self {
        let mut rng = SeededRandom::new(seed);
        let ring = KeyRing::new(&mut rng);
        let in_use = Some(BTreeSet::from([ring.data[0].id]));
        Self {
            held: Held {
                lock: ManagerLock::default(),
                ring,
                in_use,
                node_key: None,
            },
            node_key: None,
            rng,
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Rewrap { lock, renew } => {
                self.held.lock = lock;
                if renew {
                    self.held.ring = self.held.ring.renewed(&mut self.rng);
                    // the running Raft writes its next value
                    let first = self.held.ring.data[0].id;
                    self.held.in_use.as_mut().unwrap().insert(first);
                }
            }
            Step::Reseal => {
                self.held.in_use = Some(BTreeSet::from([self.held.ring.data[0].id]));
            }
            Step::Forget { data, node } => {
                self.held.ring = self.held.ring.without(&data, &node);
            }
        }
    }

    fn agent(&mut self) {
        self.node_key = self.held.node_key_wanted();
        self.held.node_key = Some(self.node_key);
    }

    /// Everything on the disk opens with the keys that the one wrapped file holds.
    fn check(&self) {
        let data = ids(&self.held.ring.data);
        let used = self.held.in_use.as_ref().unwrap();
        assert!(used.iter().all(|id| data.contains(id)), "{used:?} {data:?}");
        let node = ids(&self.held.ring.node);
        assert!(self.node_key.is_none_or(|id| node.contains(&id)));
    }
}

/// Whatever the order of changes, stops and the agent's answers: the disk always opens, and it comes to rest with one data
/// key, with one node key if locked and none if not.
#[test]
fn every_order_of_changes_and_stops_leaves_a_disk_that_opens() {
    for seed in 0..500 {
        let mut disk = Disk::new(seed);
        let mut dice = SeededRandom::new(seed + 1_000_000);
        let mut wanted = ManagerLock::default();
        let mut below = |bound| crate::id::Random::below(&mut dice, bound);
        for _ in 0..60 {
            match below(5) {
                0 => {
                    let (on, now) = (below(3) > 0, Timestamp(below(50)));
                    wanted = wanted.updated(on, below(2) == 0, now, &mut disk.rng);
                }
                1 => disk.agent(),
                2 => disk.held.node_key = None, // a restart
                _ => {
                    if let Some(step) = next_step(&disk.held, &wanted) {
                        disk.carry_out(step);
                    }
                }
            }
            disk.check();
        }
        for _ in 0..2 {
            while let Some(step) = next_step(&disk.held, &wanted) {
                disk.carry_out(step);
                disk.check();
            }
            disk.agent();
        }
        assert_eq!(disk.held.lock, wanted);
        assert_eq!(disk.held.ring.data.len(), 1);
        let expected = usize::from(wanted.key.is_some());
        assert_eq!(disk.held.ring.node.len(), expected, "seed {seed}");
        assert_eq!(disk.node_key.is_some(), wanted.key.is_some());
    }
}

#[test]
fn older_locks_seen_while_the_log_is_replayed_change_nothing() {
    let mut rng = SeededRandom::new(6);
    let first = ManagerLock::default().updated(true, false, Timestamp(1), &mut rng);
    let second = first.clone().updated(true, true, Timestamp(2), &mut rng);
    let mut disk = Disk::new(1);
    disk.held.lock = second.clone();
    for seen in [ManagerLock::default(), first, second] {
        assert_eq!(next_step(&disk.held, &seen), None);
    }
}

/// Data keys that a snapshot may still be sealed with stay, also if nobody knows yet.
#[test]
fn keys_in_use_are_kept() {
    let mut rng = SeededRandom::new(7);
    let mut disk = Disk::new(2);
    disk.held.ring = disk.held.ring.renewed(&mut rng);
    let [new, old] = ids(&disk.held.ring.data)[..] else {
        panic!("two keys");
    };
    disk.held.in_use = None;
    let lock = disk.held.lock.clone();
    assert_eq!(next_step(&disk.held, &lock), None);
    disk.held.in_use = Some(BTreeSet::from([new, old]));
    assert_eq!(next_step(&disk.held, &lock), Some(Step::Reseal));
    disk.held.in_use = Some(BTreeSet::from([new]));
    let (data, node) = (BTreeSet::from([old]), BTreeSet::new());
    let forget = Step::Forget { data, node };
    assert_eq!(next_step(&disk.held, &lock), Some(forget));
    // the first one always stays
    let all = BTreeSet::from([new, old]);
    let ring = disk.held.ring.without(&all, &BTreeSet::new());
    assert_eq!(ids(&ring.data), vec![new]);
}
