//! What a manager does next so that its disk follows the cluster's lock.

use alloc::{collections::BTreeSet, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{KeyId, ManagerLock, NamedKey};
use crate::id::Random;

/// The content of `seal.key`: the keys that an unlock key wraps. The first of each list seals what is written from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRing {
    /// Keys of the Raft state. Never empty.
    pub data: Vec<NamedKey>,
    /// Keys of the node's private key. Empty as long as managers were never locked.
    pub node: Vec<NamedKey>,
}

impl KeyRing {
    /// The keys of a new manager, which is not locked yet.
    pub fn new(rng: &mut dyn Random) -> Self {
        Self {
            data: Vec::from([NamedKey::random(rng)]),
            node: Vec::new(),
        }
    }

    /// The same with new keys in front: whoever knew the old unlock key learns nothing of what is written from now on.
    #[must_use]
    pub fn renewed(&self, rng: &mut dyn Random) -> Self {
        let mut ring = self.clone();
        ring.data.insert(0, NamedKey::random(rng));
        ring.node.insert(0, NamedKey::random(rng));
        ring
    }

    /// The same without keys that nothing needs. The first data key always stays.
    #[must_use]
    pub fn without(&self, data: &BTreeSet<KeyId>, node: &BTreeSet<KeyId>) -> Self {
        let mut first = true;
        let mut ring = self.clone();
        ring.data
            .retain(|key| core::mem::take(&mut first) || !data.contains(&key.id));
        ring.node.retain(|key| !node.contains(&key.id));
        ring
    }
}

/// What is on a manager's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lock `seal.key` is written for.
    pub lock: ManagerLock,
    /// Its content.
    pub ring: KeyRing,
    /// Which data keys the Raft state is sealed with; `None` if not known.
    pub in_use: Option<BTreeSet<KeyId>>,
    /// What the agent last said it sealed the node's private key with: `None` if it said nothing since the manager
    /// started, `Some(None)` if the key is in plain.
    pub node_key: Option<NodeKeySeal>,
}

/// What a node's private key is sealed with; `None`: it lies in plain.
pub type NodeKeySeal = Option<KeyId>;

impl Held {
    /// What the agent is to seal the node's private key with; `None` for in plain.
    pub fn node_key_wanted(&self) -> Option<KeyId> {
        let locked = self.lock.key.is_some();
        self.ring.node.first().map(|key| key.id).filter(|_| locked)
    }
}

/// The next thing to do. Each leaves a disk that one unlock key opens, whenever it is interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write `seal.key` for this lock; with [`KeyRing::renewed`] keys if so told.
    Rewrap {
        /// The lock.
        lock: ManagerLock,
        /// Whether new keys are put in front.
        renew: bool,
    },
    /// Seal with the first data key whatever is sealed with another one.
    Reseal,
    /// Write `seal.key` without these.
    Forget {
        /// Data keys.
        data: BTreeSet<KeyId>,
        /// Node keys.
        node: BTreeSet<KeyId>,
    },
}

/// What to do so that what is `held` follows what the cluster wants; `None` if it does, or if something else (the agent, a
/// snapshot) must happen first.
///
/// A lock counts only if it is newer than the held one: a manager that restarts sees older ones while it replays its log.
pub fn next_step(held: &Held, wanted: &ManagerLock) -> Option<Step> {
    if wanted.version > held.lock.version {
        // Turning the lock off publishes the keys on this disk anyway; new ones would only have to be sealed again.
        let renew = wanted.key.is_some() && wanted.key != held.lock.key;
        return Some(Step::Rewrap {
            lock: wanted.clone(),
            renew,
        });
    }
    let first = held.ring.data.first().map(|key| key.id);
    let older: BTreeSet<KeyId> = held.ring.data.iter().skip(1).map(|key| key.id).collect();
    let used = |id: &KeyId| held.in_use.as_ref().is_none_or(|used| used.contains(id));
    let data: BTreeSet<KeyId> = older.iter().copied().filter(|id| !used(id)).collect();
    let node = unneeded_node_keys(held);
    if !data.is_empty() || !node.is_empty() {
        return Some(Step::Forget { data, node });
    }
    let unsealed = held
        .in_use
        .as_ref()
        .is_some_and(|used| used.iter().any(|id| Some(*id) != first));
    unsealed.then_some(Step::Reseal)
}

/// Node keys other than the wanted one, once the agent has said that it uses the wanted one (or none, if none is wanted).
fn unneeded_node_keys(held: &Held) -> BTreeSet<KeyId> {
    let wanted = held.node_key_wanted();
    if held.node_key != Some(wanted) {
        return BTreeSet::new();
    }
    let all = held.ring.node.iter().map(|key| key.id);
    all.filter(|id| Some(*id) != wanted).collect()
}
