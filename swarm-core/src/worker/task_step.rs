//! The task's life on its node as one table: from what was observed and what is wanted to the next action, and from the
//! action's outcome to the next status. Total: no combination panics, none is left out.

use alloc::{format, string::String};

use crate::model::TaskState;

/// What to do next with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until the wish changes.
    Rest,
    /// Report this state; it needs no work.
    Advance(TaskState),
    /// Pull the image, make the namespace and the container.
    Prepare,
    /// Start the container.
    Start,
    /// Await the container's end.
    Wait,
    /// Stop the container if there is one.
    Shutdown,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Done,
    /// The container ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// The action failed; the text is for people.
    Failed(String),
}

/// The container found for a task when the agent returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Ended while nobody watched.
    Exited {
        /// Its exit code.
        code: i32,
    },
}

/// The next action for a task in the observed state `observed` whose managers want `desired`.
///
/// The order of the rules is SwarmKit's: a dead task rests, a wish to stop comes before progress, and progress goes one
/// state at a time so that every state is reported.
pub fn task_step(observed: TaskState, desired: TaskState) -> Action {
    if observed.is_terminal() {
        return Action::Rest;
    }
    if desired >= TaskState::Shutdown {
        return Action::Shutdown;
    }
    match observed {
        TaskState::New | TaskState::Pending | TaskState::Assigned => {
            Action::Advance(TaskState::Accepted)
        }
        TaskState::Accepted => Action::Advance(TaskState::Preparing),
        TaskState::Preparing => Action::Prepare,
        TaskState::Ready if desired < TaskState::Running => Action::Rest,
        TaskState::Ready => Action::Advance(TaskState::Starting),
        TaskState::Starting => Action::Start,
        TaskState::Running => Action::Wait,
        TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => Action::Rest,
    }
}

/// The state, message and error after `action` ended with `outcome`. `None` if nothing is to be reported.
pub fn conclude(action: Action, outcome: Outcome) -> Option<(TaskState, &'static str, String)> {
    let text = |outcome: Outcome| match outcome {
        Outcome::Failed(text) => text,
        Outcome::Exited { code } => format!("task: non-zero exit ({code})"),
        Outcome::Done => String::new(),
    };
    let failed = !matches!(outcome, Outcome::Done | Outcome::Exited { code: 0 });
    let ok = |state, message| Some((state, message, String::new()));
    match action {
        Action::Rest => None,
        Action::Advance(state) => ok(state, message(state)),
        // Before a container was started the node could never run the task: that is a rejection.
        Action::Prepare if failed => Some((TaskState::Rejected, "preparing", text(outcome))),
        Action::Prepare => ok(TaskState::Ready, message(TaskState::Ready)),
        Action::Start if failed => Some((TaskState::Failed, "starting", text(outcome))),
        Action::Start => ok(TaskState::Running, message(TaskState::Running)),
        Action::Wait if failed => Some((TaskState::Failed, "started", text(outcome))),
        Action::Wait => ok(TaskState::Complete, message(TaskState::Complete)),
        Action::Shutdown if failed => Some((TaskState::Failed, "shutting down", text(outcome))),
        Action::Shutdown => ok(TaskState::Shutdown, message(TaskState::Shutdown)),
    }
}

/// The state of a task whose agent has just returned: what the container says, where it says more than the last report.
pub fn adopt(last: TaskState, container: Option<ContainerState>) -> TaskState {
    if last.is_terminal() {
        return last;
    }
    match container {
        // The exit is found, with its code, by waiting as if the agent had never been away.
        Some(ContainerState::Running | ContainerState::Exited { .. }) => TaskState::Running,
        Some(ContainerState::Created) if last >= TaskState::Starting => TaskState::Starting,
        Some(ContainerState::Created) => TaskState::Ready,
        None if last >= TaskState::Ready => TaskState::Failed,
        None => last.min(TaskState::Preparing),
    }
}

/// SwarmKit's message of a state.
fn message(state: TaskState) -> &'static str {
    match state {
        TaskState::New => "created",
        TaskState::Pending => "pending task scheduling",
        TaskState::Assigned => "scheduler assigned task to node",
        TaskState::Accepted => "accepted",
        TaskState::Preparing => "preparing",
        TaskState::Ready => "prepared",
        TaskState::Starting => "starting",
        TaskState::Running => "started",
        TaskState::Complete => "finished",
        TaskState::Shutdown => "shutdown",
        TaskState::Failed => "failed",
        TaskState::Rejected => "rejected",
        TaskState::Remove => "removed",
        TaskState::Orphaned => "orphaned",
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use TaskState::{
        Accepted, Assigned, Complete, Failed, New, Orphaned, Pending, Preparing, Ready, Rejected,
        Remove, Running, Shutdown, Starting,
    };

    use super::*;

    const STATES: [TaskState; 14] = [
        New, Pending, Assigned, Accepted, Preparing, Ready, Starting, Running, Complete, Shutdown,
        Failed, Rejected, Remove, Orphaned,
    ];

    #[test]
    fn every_step_of_a_running_wish() {
        for (observed, action) in [
            (Assigned, Action::Advance(Accepted)),
            (Accepted, Action::Advance(Preparing)),
            (Preparing, Action::Prepare),
            (Ready, Action::Advance(Starting)),
            (Starting, Action::Start),
            (Running, Action::Wait),
            (Complete, Action::Rest),
            (Shutdown, Action::Rest),
            (Failed, Action::Rest),
            (Rejected, Action::Rest),
            (Orphaned, Action::Rest),
        ] {
            assert_eq!(task_step(observed, Running), action, "{observed:?}");
        }
        assert_eq!(task_step(Ready, Ready), Action::Rest);
    }

    #[test]
    fn a_wish_to_stop_wins_until_the_task_is_dead() {
        for desired in [Shutdown, Remove] {
            for observed in STATES {
                let expected = if observed.is_terminal() {
                    Action::Rest
                } else {
                    Action::Shutdown
                };
                assert_eq!(task_step(observed, desired), expected, "{observed:?}");
            }
        }
    }

    #[test]
    fn states_only_grow_whatever_happens() {
        let outcomes = [
            Outcome::Done,
            Outcome::Exited { code: 3 },
            Outcome::Failed("no".to_string()),
        ];
        for observed in STATES {
            for desired in STATES {
                for outcome in &outcomes {
                    let action = task_step(observed, desired);
                    if let Some((next, ..)) = conclude(action, outcome.clone()) {
                        assert!(next > observed, "{observed:?} {desired:?} {outcome:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn outcomes_read_like_swarms() {
        for (action, outcome, state, err) in [
            (
                Action::Prepare,
                Outcome::Failed("No such image: x".to_string()),
                Rejected,
                "No such image: x",
            ),
            (
                Action::Start,
                Outcome::Failed("boom".to_string()),
                Failed,
                "boom",
            ),
            (
                Action::Wait,
                Outcome::Exited { code: 137 },
                Failed,
                "task: non-zero exit (137)",
            ),
            (Action::Wait, Outcome::Exited { code: 0 }, Complete, ""),
            (Action::Shutdown, Outcome::Done, Shutdown, ""),
        ] {
            let (found, _, text) = conclude(action, outcome).unwrap();
            assert_eq!((found, text.as_str()), (state, err));
        }
    }

    #[test]
    fn a_returning_agent_believes_the_container() {
        for (last, container, expected) in [
            (Running, Some(ContainerState::Running), Running),
            (Starting, Some(ContainerState::Running), Running),
            (Running, Some(ContainerState::Exited { code: 1 }), Running),
            (Ready, Some(ContainerState::Created), Ready),
            (Starting, Some(ContainerState::Created), Starting),
            (Running, None, Failed),
            (Preparing, None, Preparing),
            (Accepted, None, Accepted),
            (Shutdown, Some(ContainerState::Running), Shutdown),
        ] {
            assert_eq!(adopt(last, container), expected, "{last:?} {container:?}");
        }
    }
}
