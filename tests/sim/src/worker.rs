//! A host's worker: follows its assignments with core's own table of a task's life; containers are pretended.

use std::collections::{BTreeMap, BTreeSet};

use swarm_core::{
    dispatch::{Assignment, Assignments, Delta, apply},
    id::TaskId,
    model::{Task, TaskState, TaskStatus},
    time::Timestamp,
    worker::{Action, Outcome, adopt, conclude, task_step},
};

use crate::ground::Ground;

/// Of a thousand looks at a task, how many find that a slow action has ended.
const DONE: u64 = 400;
/// Of a thousand looks at a running task during faults, how many find that it has ended by itself.
const DIES: u64 = 2;

/// What survives a restart of the agent.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    assignments: Assignments,
    local: BTreeMap<TaskId, TaskStatus>,
    /// Not yet told to a manager.
    outbox: BTreeMap<TaskId, TaskStatus>,
    /// Generation the kernel holds and the manager does not know of.
    programmed: Option<u64>,
}

impl Worker {
    /// A session begins: everything is told again.
    pub(crate) fn connected(&mut self) {
        self.outbox = self.local.clone();
        self.programmed = None;
    }

    /// New assignments.
    pub(crate) fn take(&mut self, delta: Delta) {
        self.programmed = Some(delta.generation);
        apply(&mut self.assignments, delta);
    }

    /// What the managers have to know.
    pub(crate) fn report(&mut self) -> (Vec<(TaskId, TaskStatus)>, Option<u64>) {
        let statuses = std::mem::take(&mut self.outbox).into_iter().collect();
        (statuses, self.programmed.take())
    }

    pub(crate) fn in_state(&self, state: TaskState) -> BTreeSet<TaskId> {
        let found = self
            .local
            .iter()
            .filter(|(_, status)| status.state == state);
        found.map(|(id, _)| id.clone()).collect()
    }

    /// Every container is gone.
    pub(crate) fn power_loss(&mut self, now: Timestamp) {
        let mut found = Vec::new();
        for (id, status) in &self.local {
            let next = adopt(status.state, None);
            if next != status.state {
                found.push((id.clone(), next, "the container is gone".to_owned()));
            }
        }
        for (id, state, err) in found {
            self.set(id, state, err, now);
        }
    }

    /// One look at every task.
    pub(crate) fn tick(&mut self, ground: &Ground, now: Timestamp, chaos: bool) {
        let tasks: Vec<Task> = self
            .assignments
            .values()
            .filter_map(|item| match item {
                Assignment::Task(task) => Some(task.clone()),
                Assignment::Network(_)
                | Assignment::Endpoint(_)
                | Assignment::Service(_)
                | Assignment::Peer(_)
                | Assignment::IngressAddress(_) => None,
            })
            .collect();
        let assigned: BTreeSet<&TaskId> = tasks.iter().map(|task| &task.id).collect();
        self.local.retain(|id, _| assigned.contains(id));
        for task in tasks {
            let observed = self.observed(&task, now);
            let (id, action) = (task.id, task_step(observed, task.desired_state));
            let outcome = match action {
                Action::Advance(_) => Outcome::Done,
                Action::Wait if chaos && ground.chance(DIES) => Outcome::Exited { code: 1 },
                Action::Rest | Action::Wait => continue,
                Action::Prepare | Action::Start | Action::Shutdown => {
                    if !ground.chance(DONE) {
                        continue;
                    }
                    Outcome::Done
                }
            };
            if let Some((state, _message, err)) = conclude(action, outcome) {
                ground.trace(format_args!("task {} {}", id.short(), state.name()));
                self.set(id, state, err, now);
            }
        }
    }

    /// The state of a task here; one whose container should be here and is not has failed.
    fn observed(&mut self, task: &Task, now: Timestamp) -> TaskState {
        if let Some(status) = self.local.get(&task.id) {
            return status.state;
        }
        let found = adopt(task.status.state, None);
        if found > task.status.state {
            let err = "the container is gone".to_owned();
            self.set(task.id.clone(), found, err, now);
        }
        found
    }

    fn set(&mut self, id: TaskId, state: TaskState, err: String, timestamp: Timestamp) {
        let status = TaskStatus {
            timestamp,
            state,
            err,
            ..TaskStatus::default()
        };
        self.local.insert(id.clone(), status.clone());
        self.outbox.insert(id, status);
    }
}
