//! A task's addresses: on the ingress network first if its service publishes ports there, then in the order of the
//! specification. With them the task goes from New to Pending; without, its status says what is missing.

use alloc::{string::ToString as _, vec::Vec};

use super::{
    AllocationError,
    endpoint::{self, meshed},
    is_allocated,
};
use crate::{
    id::TaskId,
    model::{Task, TaskState, TaskStatus, transition},
    store::Draft,
};

/// Gives a new task its addresses; on failure the task stays New and its error says why.
pub(crate) fn allocate_task(
    draft: &mut Draft<'_>,
    id: &TaskId,
    service_problem: Option<&AllocationError>,
) -> Result<(), AllocationError> {
    let Some(task) = draft.task(id).cloned() else {
        return Ok(());
    };
    if task.status.state != TaskState::New || !task.is_wanted() {
        return Ok(());
    }
    let outcome = match service_problem {
        Some(problem) => Err(problem.clone()),
        None => attach_task(draft, task.clone()),
    };
    if let Err(error) = &outcome {
        let text = error.to_string();
        if task.status.err != text {
            draft.edit_task(id, |task| task.status.err = text);
        }
    }
    outcome
}

fn attach_task(draft: &mut Draft<'_>, mut task: Task) -> Result<(), AllocationError> {
    let Some(service) = draft.service(&task.service) else {
        return Ok(());
    };
    if !is_allocated(service) {
        return Ok(());
    }
    let given = service.endpoint.clone();
    let mut wanted = Vec::new();
    if given
        .as_ref()
        .is_some_and(|endpoint| meshed(&endpoint.ports))
    {
        wanted.push(endpoint::ingress(draft)?);
    }
    wanted.extend(task.spec.networks.iter().cloned());
    task.attachments = endpoint::attach(draft, &wanted, &[])?;
    task.endpoint = given;
    let next = TaskStatus {
        timestamp: draft.now(),
        state: TaskState::Pending,
        message: "pending task scheduling".to_string(),
        ..TaskStatus::default()
    };
    let moved = transition::advance(transition::Component::Allocator, &mut task.status, next);
    // The state was checked above; a forbidden step would leave the task as it is.
    if moved.is_ok() {
        draft.put_task(task);
    }
    Ok(())
}
