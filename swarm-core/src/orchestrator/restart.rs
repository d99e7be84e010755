//! What happens when a task ends or its node is lost: the slot gets a replacement if the policy allows, which is prepared
//! at once and released after the delay, when the old task has stopped.
//!
//! The policy is about tasks that end by themselves. A task that lost its node (down, drained, removed, constraints) did
//! not fail: it is always replaced, without the delay.

use core::time::Duration;

use super::{
    Action, Context, Plan, enforce,
    slots::{Slot, SlotKey},
};
use crate::{
    id::NodeId,
    model::{Availability, NodeState, RestartCondition, RestartPolicy, Task, TaskState},
    time::Timestamp,
};

/// How long a replacement waits at most for the old task to stop.
const OLD_TASK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a node may be down before its tasks are given up.
const ORPHAN_TIMEOUT: Duration = Duration::from_hours(24);

/// Whether a slot needs no new task: something in it is wanted, or its last task ended and is not to be replaced.
pub(super) fn is_filled(slot: &Slot<'_>) -> bool {
    slot.live().next().is_some() || is_finished(slot)
}

/// Whether the last task ended by itself and the policy says no more.
pub(super) fn is_finished(slot: &Slot<'_>) -> bool {
    slot.newest()
        .is_some_and(|task| ended_by_itself(task) && !should_restart(slot, task))
}

fn ended_by_itself(task: &Task) -> bool {
    match task.status.state {
        TaskState::Complete | TaskState::Failed => true,
        TaskState::Rejected => task.status.err != enforce::ENFORCED,
        TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Shutdown
        | TaskState::Remove
        | TaskState::Orphaned => false,
    }
}

/// Whether the policy allows a replacement of a task that ended.
fn should_restart(slot: &Slot<'_>, task: &Task) -> bool {
    let default = RestartPolicy::default();
    let policy = task.spec.restart.as_ref().unwrap_or(&default);
    match policy.condition {
        RestartCondition::None => return false,
        RestartCondition::OnFailure if task.status.state == TaskState::Complete => return false,
        RestartCondition::OnFailure | RestartCondition::Any => {}
    }
    policy.max_attempts == 0 || restarts(slot, task, policy) < policy.max_attempts
}

/// Replacements made in the slot for this version of the specification, within the window if there is one.
fn restarts(slot: &Slot<'_>, task: &Task, policy: &RestartPolicy) -> u64 {
    let of_version = slot
        .tasks
        .iter()
        .filter(|other| other.spec_version == task.spec_version);
    // The first incarnation is no restart.
    let replacements = of_version.skip(1);
    let recent = replacements.filter(|other| {
        policy.window.is_zero()
            || task.status.timestamp.since(other.meta.created_at) <= policy.window
    });
    u64::try_from(recent.count()).unwrap_or(u64::MAX)
}

/// Why a task cannot stay where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing runs there any more, as far as anybody knows.
    NodeGone,
    /// The node is there, the task has to leave it.
    MustLeave,
    /// As above, because the constraints changed.
    Enforced,
}

fn loss(context: Context<'_>, task: &Task) -> Option<Loss> {
    if task.node.is_empty() {
        return None;
    }
    let Some(node) = context.node(&task.node) else {
        return Some(Loss::NodeGone);
    };
    if node.status.state == NodeState::Down {
        return Some(Loss::NodeGone);
    }
    match node.spec.availability {
        Availability::Drain => Some(Loss::MustLeave),
        Availability::Active | Availability::Pause => {
            enforce::violates(context, task, node).then_some(Loss::Enforced)
        }
    }
}

/// Looks after one slot: replaces what ended or lost its node, releases replacements whose moment has come.
pub(super) fn tend(
    context: Context<'_>,
    key: &SlotKey,
    slot: &Slot<'_>,
    may_create: bool,
    plan: &mut Plan,
) {
    let sound = |task: &Task| !task.status.state.is_terminal() && loss(context, task).is_none();
    let mut covered = slot.live().any(sound);
    for task in slot.live() {
        let loss = loss(context, task);
        let ended = task.status.state.is_terminal();
        if !ended && loss.is_none() {
            continue;
        }
        if loss == Some(Loss::Enforced) && task.status.err != enforce::ENFORCED && !ended {
            plan.actions.push(Action::Enforce {
                task: task.id.clone(),
            });
        }
        plan.stop(&task.id, TaskState::Shutdown);
        let replace = loss.is_some() || !ended_by_itself(task) || should_restart(slot, task);
        if replace && may_create && !covered {
            let delay = if loss.is_some() {
                Duration::ZERO
            } else {
                delay(task)
            };
            plan.create(key.clone(), TaskState::Ready, context.now + delay);
            covered = true;
        }
    }
    for task in slot.live().filter(|task| sound(task)) {
        if task.desired_state == TaskState::Ready {
            release(context, slot, task, plan);
        }
    }
    give_up(context, slot, plan);
}

pub(super) fn delay(task: &Task) -> Duration {
    let default = RestartPolicy::default();
    task.spec.restart.as_ref().unwrap_or(&default).delay
}

/// Releases a replacement after its delay, when the tasks before it have stopped or had their time.
fn release(context: Context<'_>, slot: &Slot<'_>, task: &Task, plan: &mut Plan) {
    if context.now < task.start_after {
        plan.wake_at(task.start_after);
        return;
    }
    let stopping = |other: &&Task| {
        other.id != task.id
            && !other.status.state.is_terminal()
            // A draining task is about to be told to stop: the wish is written once the nodes have acknowledged.
            && (!other.is_wanted() || other.draining || plan.stopping.contains(&other.id))
            && reachable(context, &other.node)
    };
    let latest = task.start_after.max(task.meta.created_at) + OLD_TASK_TIMEOUT;
    let waits = slot.tasks.iter().copied().any(|other| stopping(&other));
    if waits && context.now < latest {
        plan.wake_at(latest);
        return;
    }
    plan.actions.push(Action::Release {
        task: task.id.clone(),
    });
}

fn reachable(context: Context<'_>, node: &NodeId) -> bool {
    let node = context.node(node);
    node.is_some_and(|node| node.status.state != NodeState::Down)
}

/// Tasks whose node was removed or has been down for a day end as orphaned, so that their addresses are free again.
fn give_up(context: Context<'_>, slot: &Slot<'_>, plan: &mut Plan) {
    for task in &slot.tasks {
        if task.status.state.is_terminal() || task.status.state < TaskState::Assigned {
            continue;
        }
        let lost_at: Option<Timestamp> = match context.node(&task.node) {
            None => Some(Timestamp::default()),
            Some(node) if node.status.state == NodeState::Down => {
                Some(node.status.since + ORPHAN_TIMEOUT)
            }
            Some(_) => None,
        };
        match lost_at {
            Some(at) if at <= context.now => plan.actions.push(Action::Orphan {
                task: task.id.clone(),
            }),
            Some(at) => plan.wake_at(at),
            None => {}
        }
    }
}
