//! Which component may move a task's observed state from where to where. The table is the only way to change it:
//! everything else is refused. The observed state never decreases (SwarmKit's design/task_model.md); the parts of a
//! task's way belong to one component each, so that two never write the same step.

use super::{TaskState, TaskStatus};

/// Who changes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Gives addresses and ports.
    Allocator,
    /// Chooses the node.
    Scheduler,
    /// The node that runs the task.
    Agent,
    /// Ends tasks that no agent will ever report on: never placed, or their node is gone.
    Orchestrator,
}

/// A change of state that the component may not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{component:?} may not move a task from {from:?} to {to:?}")]
pub struct ForbiddenTransition {
    /// Who tried.
    pub component: Component,
    /// Where the task was.
    pub from: TaskState,
    /// Where it should have gone.
    pub to: TaskState,
}

/// Whether `component` may move a task's observed state. Staying in a state is allowed to the component that may reach
/// it, so that texts can change.
pub fn allowed(component: Component, from: TaskState, to: TaskState) -> bool {
    use TaskState as S;
    let forward = from <= to && !from.is_terminal();
    match component {
        Component::Allocator => matches!((from, to), (S::New, S::New | S::Pending)),
        Component::Scheduler => matches!((from, to), (S::Pending, S::Pending | S::Assigned)),
        // Steps may be skipped: the agent reports states, not moves, and a report can overtake another.
        Component::Agent => forward && from >= S::Assigned && to > S::Assigned && to <= S::Rejected,
        Component::Orchestrator => match to {
            // Never placed: no agent knows it.
            S::Shutdown => from < S::Assigned,
            // Placed on a node that is gone for good.
            S::Orphaned => forward && from >= S::Assigned,
            S::New
            | S::Pending
            | S::Assigned
            | S::Accepted
            | S::Preparing
            | S::Ready
            | S::Starting
            | S::Running
            | S::Complete
            | S::Failed
            | S::Rejected
            | S::Remove => false,
        },
    }
}

/// Replaces a task's status if the component may make that step.
pub fn advance(
    component: Component,
    current: &mut TaskStatus,
    next: TaskStatus,
) -> Result<(), ForbiddenTransition> {
    if !allowed(component, current.state, next.state) {
        return Err(ForbiddenTransition {
            component,
            from: current.state,
            to: next.state,
        });
    }
    *current = next;
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec::Vec};

    use super::*;

    /// One row per observed state: where each component may take it.
    #[test]
    fn the_whole_table() {
        use TaskState as S;
        let reachable = |component, from| -> Vec<TaskState> {
            let all = TaskState::ALL.into_iter();
            all.filter(|to| allowed(component, from, *to)).collect()
        };
        let agent_end = [S::Complete, S::Shutdown, S::Failed, S::Rejected];
        for from in TaskState::ALL {
            let allocator: &[S] = if from == S::New {
                &[S::New, S::Pending]
            } else {
                &[]
            };
            assert_eq!(reachable(Component::Allocator, from), allocator, "{from:?}");
            let scheduler: &[S] = if from == S::Pending {
                &[S::Pending, S::Assigned]
            } else {
                &[]
            };
            assert_eq!(reachable(Component::Scheduler, from), scheduler, "{from:?}");
            let running = [S::Accepted, S::Preparing, S::Ready, S::Starting, S::Running];
            let agent: Vec<S> = if from >= S::Assigned && !from.is_terminal() {
                let on = running.into_iter().filter(|to| *to >= from);
                on.chain(agent_end).collect()
            } else {
                Vec::new()
            };
            assert_eq!(reachable(Component::Agent, from), agent, "{from:?}");
            let orchestrator: &[S] = if from < S::Assigned {
                &[S::Shutdown]
            } else if from.is_terminal() {
                &[]
            } else {
                &[S::Orphaned]
            };
            assert_eq!(
                reachable(Component::Orchestrator, from),
                orchestrator,
                "{from:?}"
            );
        }
    }

    #[test]
    fn a_forbidden_step_changes_nothing_and_says_who_tried() {
        let mut status = TaskStatus {
            state: TaskState::Running,
            message: String::from("started"),
            ..TaskStatus::default()
        };
        let before = status.clone();
        let back = TaskStatus {
            state: TaskState::Ready,
            ..TaskStatus::default()
        };
        let refused = advance(Component::Agent, &mut status, back).unwrap_err();
        assert_eq!(
            alloc::format!("{refused}"),
            "Agent may not move a task from Running to Ready"
        );
        assert_eq!(status, before);
    }
}
