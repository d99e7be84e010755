//! Carries decisions out on the draft: makes tasks, takes tasks out of traffic and stops them.
//!
//! A task that serves is stopped in two writes: first it is *draining*, so that no node sends it new connections; its
//! desired state changes when every node has programmed that, or after a bound.

use alloc::{borrow::ToOwned as _, vec::Vec};
use core::time::Duration;

use super::{Action, Plan, enforce, slots::SlotKey};
use crate::{
    id::{NodeId, Random, ServiceId, TaskId},
    model::{
        Meta, NodeState, Service, Task, TaskState, TaskStatus, UpdateState, UpdateStatus,
        transition::{self, Component},
    },
    store::Draft,
    time::Timestamp,
};

/// How long a task that is to stop stays draining at most.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What the nodes have programmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Barrier {
    /// Every reporting node's kernel reflects the store at this index.
    pub(crate) programmed: u64,
}

/// Applies a plan; returns moments at which to look again.
pub(super) fn carry_out(
    draft: &mut Draft<'_>,
    service: &Service,
    plan: Plan,
    barrier: Barrier,
    rng: &mut dyn Random,
) -> Vec<Timestamp> {
    let mut waits = Vec::new();
    undrain(draft, service, &plan);
    for action in plan.actions {
        if draft.is_full() {
            break;
        }
        match action {
            Action::Create {
                slot,
                desired,
                start_after,
            } => draft.put_task(new_task(
                service,
                slot,
                desired,
                start_after,
                draft.now(),
                rng,
            )),
            Action::Stop { task, desired } => waits.extend(stop(draft, &task, desired, barrier)),
            Action::Release { task } => {
                draft.edit_task(&task, |task| task.desired_state = TaskState::Running);
            }
            Action::Enforce { task } => draft.edit_task(&task, |task| {
                enforce::ENFORCED.clone_into(&mut task.status.err);
            }),
            Action::Orphan { task } => orphan(draft, &task),
            Action::Status(status) => write_status(draft, &service.id, status),
            Action::RollBack { message } => roll_back(draft, &service.id, message),
        }
    }
    waits
}

fn new_task(
    service: &Service,
    slot: SlotKey,
    desired_state: TaskState,
    start_after: Timestamp,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Task {
    let (slot, node) = match slot {
        SlotKey::Number(slot) => (slot, NodeId::default()),
        SlotKey::Node(node) => (0, node),
    };
    Task {
        id: TaskId::random(rng),
        meta: Meta::default(),
        spec: service.spec.task.clone(),
        spec_version: service.spec_version,
        service: service.id.clone(),
        service_annotations: service.spec.annotations.clone(),
        slot,
        node,
        status: TaskStatus {
            timestamp: now,
            state: TaskState::New,
            message: "created".to_owned(),
            ..TaskStatus::default()
        },
        desired_state,
        attachments: Vec::new(),
        endpoint: None,
        draining: false,
        start_after,
    }
}

/// Tasks that were to stop and are wanted again take traffic again.
fn undrain(draft: &mut Draft<'_>, service: &Service, plan: &Plan) {
    let kept = draft
        .tasks_of_service(&service.id)
        .filter(|task| task.draining && task.is_wanted() && !plan.stopping.contains(&task.id));
    let kept: Vec<TaskId> = kept.map(|task| task.id.clone()).collect();
    for id in kept {
        draft.edit_task(&id, |task| task.draining = false);
    }
}

/// Stops a task; returns when to look again if it has to drain first.
fn stop(
    draft: &mut Draft<'_>,
    id: &TaskId,
    desired: TaskState,
    barrier: Barrier,
) -> Option<Timestamp> {
    let task = draft.task(id)?;
    if task.is_wanted() && takes_traffic(draft, task) {
        if !task.draining {
            draft.edit_task(id, |task| task.draining = true);
            return Some(draft.now() + DRAIN_TIMEOUT);
        }
        let until = task.meta.updated_at + DRAIN_TIMEOUT;
        if barrier.programmed < task.meta.version.0 && draft.now() < until {
            return Some(until);
        }
    }
    stop_now(draft, id, desired);
    None
}

/// Whether other nodes may be sending connections to the task.
fn takes_traffic(draft: &Draft<'_>, task: &Task) -> bool {
    let node = draft.node(&task.node);
    task.status.state == TaskState::Running
        && !task.attachments.is_empty()
        && node.is_some_and(|node| node.status.state != NodeState::Down)
}

/// Sets the desired state; a task that no agent ever got ends here.
fn stop_now(draft: &mut Draft<'_>, id: &TaskId, desired: TaskState) {
    let Some(task) = draft.task(id).filter(|task| task.desired_state < desired) else {
        return;
    };
    let mut task = task.clone();
    task.desired_state = desired;
    let ended = TaskStatus {
        timestamp: draft.now(),
        state: TaskState::Shutdown,
        message: "shutdown".to_owned(),
        ..task.status.clone()
    };
    // Placed tasks end when their agent says so: the table refuses this step for them.
    if transition::allowed(Component::Orchestrator, task.status.state, ended.state) {
        task.status = ended;
    }
    draft.put_task(task);
}

fn orphan(draft: &mut Draft<'_>, id: &TaskId) {
    let now = draft.now();
    draft.edit_task(id, |task| {
        let next = TaskStatus {
            timestamp: now,
            state: TaskState::Orphaned,
            ..task.status.clone()
        };
        if transition::allowed(Component::Orchestrator, task.status.state, next.state) {
            task.status = next;
        }
    });
}

fn write_status(draft: &mut Draft<'_>, id: &ServiceId, status: UpdateStatus) {
    if let Some(mut service) = draft.service(id).cloned() {
        service.update_status = Some(status);
        draft.put_service(service);
    }
}

/// Returns to the previous specification; it is used up by that.
fn roll_back(draft: &mut Draft<'_>, id: &ServiceId, message: alloc::string::String) {
    let Some(mut service) = draft.service(id).cloned() else {
        return;
    };
    let Some(previous) = service.previous_spec.take() else {
        return;
    };
    service.spec = previous;
    service.spec_version = service.spec_version.saturating_add(1);
    service.update_status = Some(UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at: draft.now(),
        completed_at: None,
        message,
    });
    draft.put_service(service);
}

/// A service that was removed takes its tasks with it; nothing sends them connections any more.
pub(super) fn remove_tasks_of_missing_service(draft: &mut Draft<'_>, id: &ServiceId) {
    let tasks: Vec<(TaskId, bool)> = draft
        .tasks_of_service(id)
        .map(|task| (task.id.clone(), draft.node(&task.node).is_none()))
        .collect();
    for (task, homeless) in tasks {
        if draft.is_full() {
            break;
        }
        stop_now(draft, &task, TaskState::Remove);
        if homeless {
            orphan(draft, &task);
        }
    }
}
