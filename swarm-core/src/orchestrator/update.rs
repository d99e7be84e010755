//! Rolling updates and rollbacks: slots whose tasks are of an older specification get new ones, so many at a time, with
//! a pause in between; new tasks are watched, and what happens when they fail is the user's choice.
//!
//! Progress is read from the tasks themselves, so a new leader continues where the old one was: a slot is *dirty* while
//! it only has tasks of the old specification, *moving* from the creation of its new task until that runs (start-first:
//! until the old one is told to stop), and *resting* for the delay after that.

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use super::{
    Action, Context, Plan, restart,
    slots::{Slot, SlotKey},
};
use crate::{
    control::ControlError,
    model::{
        FailureAction, Node, Service, ServiceSpec, Task, TaskState, UpdateConfig, UpdateOrder,
        UpdateState, UpdateStatus,
    },
    time::Timestamp,
};

/// Whether a task is not as the service wants it now. Replica counts, labels, update settings and registry credentials
/// do not matter; neither do placement constraints if the task's node fits the new ones.
pub fn is_task_dirty(service: &Service, task: &Task, node: Option<&Node>) -> bool {
    if task.spec_version == service.spec_version {
        return false;
    }
    let wanted = service.spec.endpoint.clone().unwrap_or_default();
    let given = task.endpoint.as_ref();
    if given.is_some_and(|endpoint| endpoint.spec != wanted) {
        return true;
    }
    let target = &service.spec.task;
    if task.spec == *target {
        return false;
    }
    let mut spec = task.spec.clone();
    spec.container
        .registry_auth
        .clone_from(&target.container.registry_auth);
    if spec == *target {
        return false;
    }
    spec.placement = target.placement.clone();
    let constraints = &target.placement.constraints;
    let fits = |node: &Node| {
        let parsed = crate::constraint::Constraint::parse_all(constraints);
        parsed.iter().all(|constraint| constraint.matches(node))
    };
    spec != *target || !node.is_some_and(fits)
}

/// Where a slot stands in the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not touched by this update.
    Clean,
    /// Waits for its turn.
    Dirty,
    /// Its new task is on the way.
    Moving,
    /// Its new task runs (or ended) since then.
    Done(Timestamp),
}

struct Progress<'p> {
    stages: Vec<(&'p SlotKey, &'p Slot<'p>, Stage)>,
    config: UpdateConfig,
    began: Timestamp,
    rollback: bool,
}

/// What the service's update status says.
struct Phase {
    /// An update or rollback is on its way.
    running: bool,
    rollback: bool,
    began: Timestamp,
}

impl Phase {
    /// `None` while the update is paused: the user has to speak first.
    fn of(service: &Service, now: Timestamp) -> Option<Self> {
        let status = service.update_status.as_ref();
        let (running, rollback) = match status.map(|status| status.state) {
            Some(UpdateState::Paused | UpdateState::RollbackPaused) => return None,
            Some(UpdateState::Updating) => (true, false),
            Some(UpdateState::RollbackStarted) => (true, true),
            Some(UpdateState::Completed | UpdateState::RollbackCompleted) | None => (false, false),
        };
        let began = status.filter(|_status| running);
        Some(Self {
            running,
            rollback,
            began: began.map_or(now, |status| status.started_at),
        })
    }
}

pub(super) fn decide(context: Context<'_>, slots: &[(&SlotKey, &Slot<'_>)], plan: &mut Plan) {
    let Some(phase) = Phase::of(context.service, context.now) else {
        return;
    };
    let spec = &context.service.spec;
    let config = if phase.rollback {
        &spec.rollback
    } else {
        &spec.update
    };
    let began = phase.running.then_some(phase.began);
    let stages = slots
        .iter()
        .map(|(key, slot)| (*key, *slot, stage(context, key, slot, began, plan)));
    let progress = Progress {
        stages: stages.collect(),
        config: config.clone().unwrap_or_default(),
        began: phase.began,
        rollback: phase.rollback,
    };
    let idle = |(_, _, stage): &(_, _, Stage)| matches!(stage, Stage::Clean | Stage::Done(_));
    if !phase.running && progress.stages.iter().all(idle) {
        return;
    }
    if let Some(action) = progress.failure(context) {
        plan.actions.push(action);
        return;
    }
    if !phase.running {
        plan.actions.push(progress.beginning());
    }
    progress.advance(context, plan);
    progress.complete(context, plan);
}

fn dirty(context: Context<'_>, task: &Task) -> bool {
    is_task_dirty(context.service, task, context.node(&task.node))
}

/// Tasks that this update made.
fn fresh<'t>(
    context: Context<'_>,
    slot: &'t Slot<'_>,
    began: Timestamp,
) -> impl Iterator<Item = &'t Task> {
    let version = context.service.spec_version;
    slot.tasks
        .iter()
        .copied()
        .filter(move |task| task.spec_version == version && task.meta.created_at >= began)
}

/// `began` is `None` while no update runs: then only a task of an older specification makes a slot count.
fn stage(
    context: Context<'_>,
    key: &SlotKey,
    slot: &Slot<'_>,
    began: Option<Timestamp>,
    plan: &Plan,
) -> Stage {
    if plan.created.contains(key) {
        return began.map_or(Stage::Clean, |_began| Stage::Moving);
    }
    let live = || slot.live().filter(|task| !plan.stopping.contains(&task.id));
    let has_old = live().any(|task| dirty(context, task));
    let has_new = live().any(|task| !dirty(context, task));
    let finished_old = live().next().is_none()
        && slot.newest().is_some_and(|task| dirty(context, task))
        && restart::is_finished(slot);
    match (has_old, has_new, began) {
        (true, true, _) => Stage::Moving,
        (true, false, _) => Stage::Dirty,
        (false, _, _) if finished_old => Stage::Dirty,
        (false, _, None) => Stage::Clean,
        (false, _, Some(began)) => {
            let reached = fresh(context, slot, began).filter_map(|task| running_at(context, task));
            let any = fresh(context, slot, began).next();
            match (reached.min(), any) {
                (Some(at), _) => Stage::Done(at),
                (None, Some(_)) => Stage::Moving,
                (None, None) => Stage::Clean,
            }
        }
    }
}

/// When the task was first running, or ended without; `None` if it is still on the way.
fn running_at(context: Context<'_>, task: &Task) -> Option<Timestamp> {
    if let Some(started) = context.started.get(&task.id) {
        return Some(started.seen);
    }
    (task.status.state >= TaskState::Running).then_some(task.meta.updated_at)
}

/// The previous specification may have lost its port or a network meanwhile. A transaction that returns to it would be refused
/// whenever it is decided, and with it everything else that the leader has to write.
fn may_return(context: Context<'_>, previous: &ServiceSpec) -> Result<(), ControlError> {
    let own = &context.service.id;
    context.draft.check_references(previous, own)
}

impl Progress<'_> {
    fn beginning(&self) -> Action {
        Action::Status(UpdateStatus {
            state: UpdateState::Updating,
            started_at: self.began,
            completed_at: None,
            message: String::from("update in progress"),
        })
    }

    /// Pause between the replacement of a slot and the next, and the time a new task is watched.
    fn monitor(&self) -> Duration {
        let config = &self.config;
        if config.delay >= config.monitor {
            config.delay.saturating_add(Duration::from_secs(1))
        } else {
            config.monitor
        }
    }

    /// What follows from tasks of this update that failed.
    fn failure(&self, context: Context<'_>) -> Option<Action> {
        if self.config.failure_action == FailureAction::Continue {
            return None;
        }
        let slots = self.stages.iter();
        let failed: Vec<&Task> = slots
            .clone()
            .flat_map(|(_key, slot, _stage)| fresh(context, slot, self.began))
            .filter(|task| self.has_failed(context, task))
            .collect();
        let touched = slots.filter(|(_key, slot, stage)| {
            *stage == Stage::Dirty || fresh(context, slot, self.began).next().is_some()
        });
        let total = u128::try_from(touched.count().max(1)).unwrap_or(u128::MAX);
        let failures = u128::try_from(failed.len()).unwrap_or(u128::MAX);
        let limit = u128::from(self.config.max_failure_ratio_ppm);
        let last = failed.iter().max_by_key(|task| task.status.timestamp)?;
        (failures.saturating_mul(1_000_000) > limit.saturating_mul(total))
            .then(|| self.react(context, last))
    }

    /// Ended by itself before it ran, or within the monitored time after.
    fn has_failed(&self, context: Context<'_>, task: &Task) -> bool {
        if !matches!(
            task.status.state,
            TaskState::Complete | TaskState::Failed | TaskState::Rejected
        ) {
            return false;
        }
        match context.started.get(&task.id) {
            Some(started) => task.status.timestamp.since(started.reported) <= self.monitor(),
            // Never seen running by this leader: count from its creation.
            None => {
                task.status.timestamp.since(task.meta.created_at) <= self.monitor()
                    || task.status.state == TaskState::Rejected
            }
        }
    }

    fn react(&self, context: Context<'_>, task: &Task) -> Action {
        let cause = format!("due to failure or early termination of task {}", task.id);
        if self.rollback {
            return self.paused(
                UpdateState::RollbackPaused,
                format!("rollback paused {cause}"),
            );
        }
        let previous = context.service.previous_spec.as_ref();
        let previous =
            previous.filter(|_spec| self.config.failure_action == FailureAction::Rollback);
        let message = match previous.map(|spec| may_return(context, spec)) {
            Some(Ok(())) => {
                return Action::RollBack {
                    message: format!("update rolled back {cause}"),
                };
            }
            Some(Err(refusal)) => format!("update paused {cause}; cannot roll back: {refusal}"),
            None => format!("update paused {cause}"),
        };
        self.paused(UpdateState::Paused, message)
    }

    fn paused(&self, state: UpdateState, message: String) -> Action {
        Action::Status(UpdateStatus {
            state,
            started_at: self.began,
            completed_at: None,
            message,
        })
    }

    /// Moves slots on and begins as many new ones as the parallelism allows.
    fn advance(&self, context: Context<'_>, plan: &mut Plan) {
        let mut busy = 0u64;
        for (_key, slot, stage) in &self.stages {
            match stage {
                Stage::Clean | Stage::Dirty => {}
                Stage::Moving => {
                    busy = busy.saturating_add(1);
                    self.stop_old(context, slot, plan);
                }
                Stage::Done(at) => {
                    let rested = *at + self.config.delay;
                    if rested > context.now {
                        busy = busy.saturating_add(1);
                        plan.wake_at(rested);
                    }
                }
            }
        }
        let limit = match self.config.parallelism {
            0 => u64::MAX,
            limit => limit,
        };
        let room = usize::try_from(limit.saturating_sub(busy)).unwrap_or(usize::MAX);
        let waiting = self.stages.iter();
        let waiting = waiting.filter(|(_key, _slot, stage)| *stage == Stage::Dirty);
        for (key, slot, _stage) in waiting.take(room.min(MAX_BEGUN)) {
            self.begin(context, key, slot, plan);
        }
    }

    /// Tells the old tasks of a moving slot to stop: at once, or when the new one runs.
    fn stop_old(&self, context: Context<'_>, slot: &Slot<'_>, plan: &mut Plan) {
        let runs = |task: &Task| !dirty(context, task) && task.status.state == TaskState::Running;
        let ready = match self.config.order {
            UpdateOrder::StopFirst => true,
            UpdateOrder::StartFirst => slot.live().any(runs),
        };
        if ready {
            for task in slot.live().filter(|task| dirty(context, task)) {
                plan.stop(&task.id, TaskState::Shutdown);
            }
        }
    }

    fn begin(&self, context: Context<'_>, key: &SlotKey, slot: &Slot<'_>, plan: &mut Plan) {
        // A new task that failed here before is tried again no faster than a restart would.
        let failed =
            fresh(context, slot, self.began).filter(|task| task.status.state.is_terminal());
        let retry = failed
            .map(|task| task.meta.updated_at + restart::delay(task))
            .max();
        let start_after = retry.unwrap_or_default();
        let stop_first = self.config.order == UpdateOrder::StopFirst;
        let waits = retry.is_some() || (stop_first && slot.live().next().is_some());
        let desired = if waits {
            TaskState::Ready
        } else {
            TaskState::Running
        };
        plan.create(key.clone(), desired, start_after);
        if stop_first {
            for task in slot.live() {
                plan.stop(&task.id, TaskState::Shutdown);
            }
        }
    }

    /// Ends the update when every slot is done and the last new task has been watched long enough.
    fn complete(&self, context: Context<'_>, plan: &mut Plan) {
        let mut last = self.began;
        let mut watched = false;
        for (_key, _slot, stage) in &self.stages {
            match stage {
                Stage::Dirty | Stage::Moving => return,
                Stage::Clean => {}
                Stage::Done(at) => {
                    watched = true;
                    last = last.max(*at);
                }
            }
        }
        let until = last + self.monitor();
        if watched && until > context.now {
            plan.wake_at(until);
            return;
        }
        let (state, message) = if self.rollback {
            (UpdateState::RollbackCompleted, "rollback completed")
        } else {
            (UpdateState::Completed, "update completed")
        };
        plan.actions.push(Action::Status(UpdateStatus {
            state,
            started_at: self.began,
            completed_at: Some(context.now),
            message: String::from(message),
        }));
    }
}

/// Slots that one look at a service may begin to update.
const MAX_BEGUN: usize = 500;
