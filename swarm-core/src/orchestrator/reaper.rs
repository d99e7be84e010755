//! Forgets tasks: those that are to be removed once they have stopped, and the oldest dead ones of a slot beyond the
//! cluster's retention limit.

use alloc::{collections::BTreeMap, vec::Vec};

use super::slots::SlotKey;
use crate::{
    id::{ServiceId, TaskId},
    model::{ClusterSpec, Service, Task, TaskState},
    store::Draft,
    time::Timestamp,
};

/// Forgets what may go of the tasks of a service (which itself may be gone).
pub(super) fn reap(draft: &mut Draft<'_>, id: &ServiceId, service: Option<&Service>) {
    let limit = draft.cluster().map_or_else(
        || ClusterSpec::default().task_history_retention_limit,
        |cluster| cluster.spec.task_history_retention_limit,
    );
    let mut history: BTreeMap<SlotKey, Vec<&Task>> = BTreeMap::new();
    let mut gone: Vec<TaskId> = Vec::new();
    for task in draft.tasks_of_service(id) {
        match service {
            Some(service) if task.desired_state != TaskState::Remove => {
                let slot = history.entry(SlotKey::of(service, task)).or_default();
                slot.push(task);
            }
            Some(_) | None if may_go(task) => gone.push(task.id.clone()),
            Some(_) | None => {}
        }
    }
    for mut slot in history.into_values() {
        slot.sort_by_key(|task| age(task));
        gone.extend(surplus(&slot, limit));
    }
    for id in gone {
        if draft.is_full() {
            break;
        }
        draft.remove_task(&id);
    }
}

fn may_go(task: &Task) -> bool {
    task.desired_state == TaskState::Remove && task.status.state.is_terminal()
}

fn age(task: &Task) -> (Timestamp, TaskId) {
    (task.meta.created_at, task.id.clone())
}

/// The oldest dead tasks beyond the limit; a policy with a maximum of attempts keeps as many as it has to count.
fn surplus(slot: &[&Task], limit: i64) -> Vec<TaskId> {
    let attempts = slot.last().map(|newest| {
        let policy = newest.spec.restart.as_ref();
        policy.map_or(0, |policy| policy.max_attempts)
    });
    let keep = match attempts {
        Some(attempts) if attempts > 0 => i64::try_from(attempts.saturating_add(1)).ok(),
        Some(_) | None => Some(limit),
    };
    let Some(keep) = keep.and_then(|keep| usize::try_from(keep).ok()) else {
        return Vec::new();
    };
    let surplus = slot.len().saturating_sub(keep.max(1));
    let dead = slot
        .iter()
        .filter(|task| !task.is_wanted() && task.status.state.is_terminal());
    dead.take(surplus).map(|task| task.id.clone()).collect()
}
