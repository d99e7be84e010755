//! A replicated service: as many filled slots as replicas. New tasks take the lowest free numbers; scaling down first
//! takes slots that do not run, then from the nodes with the most copies.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    Context, Plan, restart,
    slots::{Slot, SlotKey, Slots},
    update,
};
use crate::{id::NodeId, model::TaskState, time::Timestamp};

pub(super) fn decide(context: Context<'_>, slots: &Slots<'_>, replicas: u64, plan: &mut Plan) {
    let filled: Vec<(&SlotKey, &Slot<'_>)> = slots
        .by_key
        .iter()
        .filter(|(_key, slot)| restart::is_filled(slot))
        .collect();
    let kept = choose_kept(&filled, replicas);
    for (key, slot) in &slots.by_key {
        if kept.contains(key) {
            restart::tend(context, key, slot, true, plan);
        }
    }
    add_missing(&kept, replicas, plan);
    for (key, slot) in &slots.by_key {
        // Dead slots whose number was not taken again go with all they hold, as do the ones scaled away.
        if !kept.contains(key) && !plan.created.contains(key) {
            for task in &slot.tasks {
                plan.stop(&task.id, TaskState::Remove);
            }
        }
    }
    let kept_slots = slots
        .by_key
        .iter()
        .filter(|(key, _slot)| kept.contains(*key));
    update::decide(context, &kept_slots.collect::<Vec<_>>(), plan);
}

/// The slots that stay, at most `replicas`.
fn choose_kept(filled: &[(&SlotKey, &Slot<'_>)], replicas: u64) -> BTreeSet<SlotKey> {
    let limit = usize::try_from(replicas).unwrap_or(usize::MAX);
    if filled.len() <= limit {
        return filled.iter().map(|(key, _slot)| (*key).clone()).collect();
    }
    let mut by_worth: Vec<(Worth, &SlotKey)> = filled
        .iter()
        .map(|(key, slot)| (Worth::of(slot), *key))
        .collect();
    by_worth.sort();
    // Among the running ones, the n-th on its node is worth less than the first of any node.
    let mut copies: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut ranked: Vec<(Worth, u64, &SlotKey)> = Vec::with_capacity(by_worth.len());
    for (worth, key) in by_worth {
        let node = worth.node.clone();
        let copy = copies.entry(node).or_default();
        *copy = copy.saturating_add(1);
        ranked.push((worth, *copy, key));
    }
    ranked.sort_by(|a, b| {
        let (a, b) = ((a.0.rank(), a.1, a.2), (b.0.rank(), b.1, b.2));
        a.cmp(&b)
    });
    let kept = ranked.into_iter().take(limit);
    kept.map(|(_worth, _copy, key)| key.clone()).collect()
}

/// How much a slot is worth keeping; less is kept first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    draining: bool,
    unplaced: bool,
    idle: bool,
    node: NodeId,
}

impl Worth {
    fn of(slot: &Slot<'_>) -> Self {
        let live: Vec<_> = slot.live().collect();
        let node = live
            .iter()
            .map(|task| &task.node)
            .find(|node| !node.is_empty());
        Self {
            // Chosen for removal before: choose it again.
            draining: !live.is_empty() && live.iter().all(|task| task.draining),
            unplaced: node.is_none(),
            idle: live
                .iter()
                .all(|task| task.status.state != TaskState::Running),
            node: node.cloned().unwrap_or_default(),
        }
    }

    fn rank(&self) -> (bool, bool, bool) {
        (self.draining, self.unplaced, self.idle)
    }
}

fn add_missing(kept: &BTreeSet<SlotKey>, replicas: u64, plan: &mut Plan) {
    let have = u64::try_from(kept.len()).unwrap_or(u64::MAX);
    let missing = usize::try_from(replicas.saturating_sub(have)).unwrap_or(usize::MAX);
    let free = (1..=u64::MAX)
        .map(SlotKey::Number)
        .filter(|key| !kept.contains(key));
    // One transaction takes no more than this many; the next step adds the rest.
    for key in free.take(missing.min(MAX_NEW_TASKS)) {
        plan.create(key, TaskState::Running, Timestamp::default());
    }
}

/// Tasks that one look at a service may add.
const MAX_NEW_TASKS: usize = 1000;
