//! Keeps each service's tasks as its specification wants them: one function per service that looks at all of its tasks
//! and decides what to create, stop, release and forget. It is level-triggered: called again it decides the same, or
//! nothing, so it does not matter how often or why it runs.
//!
//! A *slot* is one wanted place: a number of a replicated service, a node of a global one. In it one task after another
//! lives: a restart or an update makes a new task beside the old one.

mod act;
mod enforce;
mod global;
mod reaper;
mod replicated;
mod restart;
mod slots;
mod update;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

pub(crate) use act::Barrier;
pub use enforce::ENFORCED;
pub use update::is_task_dirty;

use crate::{
    id::{NodeId, Random, ServiceId, TaskId},
    model::{Service, ServiceMode, TaskState, UpdateStatus},
    store::Draft,
    time::Timestamp,
};
use slots::{SlotKey, Slots};

/// When a task was first seen running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// On the manager's clock.
    pub(crate) seen: Timestamp,
    /// On the node's clock.
    pub(crate) reported: Timestamp,
}

/// One decision about a service's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Make a task from the service's current specification.
    Create {
        slot: SlotKey,
        desired: TaskState,
        start_after: Timestamp,
    },
    /// Stop a task for good, after it was taken out of traffic.
    Stop { task: TaskId, desired: TaskState },
    /// A replacement may start.
    Release { task: TaskId },
    /// The task's node does not fit any more.
    Enforce { task: TaskId },
    /// The task's node will not report again.
    Orphan { task: TaskId },
    /// Progress of the update.
    Status(UpdateStatus),
    /// Return to the previous specification.
    RollBack { message: alloc::string::String },
}

/// The decisions about one service.
#[derive(Debug, Default)]
struct Plan {
    actions: Vec<Action>,
    /// Look again at this moment.
    wake: Option<Timestamp>,
    /// Slots that get a new task.
    created: BTreeSet<SlotKey>,
    /// Tasks that are to stop.
    stopping: BTreeSet<TaskId>,
}

impl Plan {
    fn create(&mut self, slot: SlotKey, desired: TaskState, start_after: Timestamp) {
        self.created.insert(slot.clone());
        self.actions.push(Action::Create {
            slot,
            desired,
            start_after,
        });
    }

    fn stop(&mut self, task: &TaskId, desired: TaskState) {
        if self.stopping.insert(task.clone()) {
            self.actions.push(Action::Stop {
                task: task.clone(),
                desired,
            });
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// What decisions look at beside the service's tasks.
#[derive(Clone, Copy)]
struct Context<'c> {
    draft: &'c Draft<'c>,
    service: &'c Service,
    constraints: &'c [crate::constraint::Constraint],
    started: &'c BTreeMap<TaskId, Started>,
    now: Timestamp,
}

impl Context<'_> {
    fn node(&self, id: &NodeId) -> Option<&crate::model::Node> {
        self.draft.node(id)
    }

    fn fits(&self, node: &crate::model::Node) -> bool {
        let mut constraints = self.constraints.iter();
        constraints.all(|constraint| constraint.matches(node))
    }
}

/// How a look at a service ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Look again at this moment.
    pub(crate) wake: Option<Timestamp>,
    /// A task waits for the nodes to take it out of traffic.
    pub(crate) draining: bool,
}

/// Decides about one service and carries it out on the draft.
pub(crate) fn settle_service(
    draft: &mut Draft<'_>,
    id: &ServiceId,
    started: &BTreeMap<TaskId, Started>,
    barrier: Barrier,
    rng: &mut dyn Random,
) -> Settled {
    let Some(service) = draft.service(id).cloned() else {
        act::remove_tasks_of_missing_service(draft, id);
        reaper::reap(draft, id, None);
        return Settled::default();
    };
    let plan = decide(draft, &service, started);
    let mut wake = plan.wake;
    let waits = act::carry_out(draft, &service, plan, barrier, rng);
    reaper::reap(draft, id, Some(&service));
    let draining = !waits.is_empty();
    for at in waits {
        wake = Some(wake.map_or(at, |wake| wake.min(at)));
    }
    Settled { wake, draining }
}

fn decide(draft: &Draft<'_>, service: &Service, started: &BTreeMap<TaskId, Started>) -> Plan {
    let constraints = &service.spec.task.placement.constraints;
    let constraints = crate::constraint::Constraint::parse_all(constraints);
    let context = Context {
        draft,
        service,
        constraints: &constraints,
        started,
        now: draft.now(),
    };
    let slots = Slots::of(draft, service);
    let mut plan = Plan::default();
    match service.spec.mode {
        ServiceMode::Replicated { replicas } => {
            replicated::decide(context, &slots, replicas, &mut plan);
        }
        ServiceMode::Global => global::decide(context, &slots, &mut plan),
    }
    plan
}

#[cfg(test)]
mod tests;
