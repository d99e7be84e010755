//! Waiting for a service to converge, as a reducer: each poll of the service, its tasks and the
//! nodes goes in, lines to show and a verdict come out. No clock, no terminal, no requests.

mod modes;
pub(crate) mod rotation;
mod screen;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::values::object::{has, list, number, text};
use modes::Mode;
pub(crate) use screen::Screen;

/// How long a converged service must stay so, unless its update configuration says otherwise.
const DEFAULT_MONITOR: i64 = 5_000_000_000;

/// A line of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What the line is about; on a screen a later line with the same id replaces it.
    pub id: String,
    pub text: String,
    /// How far along, of how much; such lines are only for screens.
    pub bar: Option<(u32, u32)>,
    /// Whether the line stays and is never replaced.
    pub lasting: bool,
}

impl Line {
    fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            text: text.into(),
            bar: None,
            lasting: false,
        }
    }

    fn lasting(id: &str, text: impl Into<String>) -> Self {
        Self {
            lasting: true,
            ..Self::new(id, text)
        }
    }
}

/// What to do after a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Continue,
    Done,
}

/// Why waiting ended badly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgressError {
    #[error("service update paused: {0}")]
    UpdatePaused(String),
    #[error("service rollback paused: {0}")]
    RollbackPaused(String),
    #[error("unrecognized service mode")]
    Mode,
    #[error("no replica count")]
    Replicas,
    #[error("job service without job status")]
    JobStatus,
}

/// The state of waiting for one service.
#[derive(Debug)]
pub(crate) struct Reducer {
    /// The service as the user named it.
    name: String,
    mode: Option<Mode>,
    monitor: i64,
    converged: bool,
    converged_at: Option<i64>,
    rollback: bool,
    closing: Option<Line>,
}

impl Reducer {
    /// Starts to wait.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mode: None,
            monitor: DEFAULT_MONITOR,
            converged: false,
            converged_at: None,
            rollback: false,
            closing: None,
        }
    }

    /// Whether the tasks were all running at the last poll.
    pub(crate) fn converged(&self) -> bool {
        self.converged
    }

    /// First half of a poll: the service itself. `now` is in nanoseconds.
    pub(crate) fn on_service(
        &mut self,
        service: &Value,
        now: i64,
        lines: &mut Vec<Line>,
    ) -> Result<Verdict, ProgressError> {
        let monitor = number(service, "/Spec/UpdateConfig/Monitor");
        if monitor != 0 {
            self.monitor = monitor;
        }
        if self.mode.is_none() {
            self.mode = Some(Mode::of(service)?);
        }
        if self.on_update_status(service, lines)? == Verdict::Done {
            return Ok(Verdict::Done);
        }
        let stable = self.converged_at.is_some_and(|at| now - at >= self.monitor);
        if self.converged && stable {
            lines.push(Line::new(
                "verify",
                format!("Service {} converged", self.name),
            ));
            lines.extend(self.closing.take());
            return Ok(Verdict::Done);
        }
        Ok(Verdict::Continue)
    }

    fn on_update_status(
        &mut self,
        service: &Value,
        lines: &mut Vec<Line>,
    ) -> Result<Verdict, ProgressError> {
        let message = text(service, "/UpdateStatus/Message").to_owned();
        match text(service, "/UpdateStatus/State") {
            "updating" => self.rollback = false,
            "completed" if !self.converged => return Ok(Verdict::Done),
            "paused" => return Err(ProgressError::UpdatePaused(message)),
            "rollback_started" => {
                if !self.rollback && !message.is_empty() {
                    lines.push(Line::new("rollback", message));
                }
                self.rollback = true;
            }
            "rollback_paused" => return Err(ProgressError::RollbackPaused(message)),
            "rollback_completed" => {
                if !self.converged {
                    self.closing = Some(Line::lasting("rollback", message));
                }
                self.rollback = true;
            }
            _ => {}
        }
        Ok(Verdict::Continue)
    }

    /// Second half of a poll: the tasks of the service's current spec and all nodes.
    pub(crate) fn on_tasks(
        &mut self,
        service: &Value,
        tasks: &[Value],
        nodes: &[Value],
        now: i64,
        lines: &mut Vec<Line>,
    ) -> Result<Verdict, ProgressError> {
        let down = |node: &&Value| text(node, "/Status/State") != "down";
        let active: BTreeSet<String> = nodes
            .iter()
            .filter(down)
            .map(|node| text(node, "/ID").to_owned())
            .collect();
        let tasks: Vec<TaskView> = tasks.iter().map(TaskView::of).collect();
        let view = View {
            service,
            tasks: &tasks,
            active: &active,
            rollback: self.rollback,
        };
        let mode = self.mode.as_mut().ok_or(ProgressError::Mode)?;
        self.converged = mode.update(&view, lines)?;
        if !self.converged {
            if self.converged_at.take().is_some() {
                lines.push(Line::new("verify", "Detected task failure"));
            }
            return Ok(Verdict::Continue);
        }
        // A job that is done stays done: nothing to verify.
        if has(service, "/JobStatus") {
            lines.push(Line::lasting("", "job complete"));
            return Ok(Verdict::Done);
        }
        lines.extend(self.verifying(now));
        Ok(Verdict::Continue)
    }

    /// How long the tasks still have to stay as they are; nothing when that time is over.
    fn verifying(&mut self, now: i64) -> Option<Line> {
        let wait = self.monitor - (now - *self.converged_at.get_or_insert(now));
        if wait < 0 {
            return None;
        }
        let seconds = (wait - 1).max(0) / 1_000_000_000 + 1;
        let text = format!("Waiting {seconds} seconds to verify that tasks are stable...");
        Some(Line::new("verify", text))
    }
}

/// What one poll saw.
struct View<'a> {
    service: &'a Value,
    tasks: &'a [TaskView],
    active: &'a BTreeSet<String>,
    rollback: bool,
}

/// The parts of a task that matter here.
#[derive(Debug, Clone)]
struct TaskView {
    slot: i64,
    node: String,
    desired: u32,
    state: u32,
    state_name: String,
    error: String,
    iteration: Option<i64>,
}

impl TaskView {
    fn of(task: &Value) -> Self {
        let state_name = text(task, "/Status/State").to_owned();
        Self {
            slot: number(task, "/Slot"),
            node: text(task, "/NodeID").to_owned(),
            desired: rank(text(task, "/DesiredState")),
            state: rank(&state_name),
            state_name,
            error: text(task, "/Status/Err").to_owned(),
            iteration: has(task, "/JobIteration").then(|| number(task, "/JobIteration/Index")),
        }
    }

    /// Whether the progress display knows both of the task's states.
    fn is_ranked(&self) -> bool {
        self.desired != 0 && self.state != 0
    }

    /// Neither finished nor meant to be.
    fn is_alive(&self) -> bool {
        self.desired <= RUNNING && self.state <= RUNNING
    }

    fn is_running(&self) -> bool {
        self.desired <= RUNNING && self.state == RUNNING
    }
}

const RUNNING: u32 = 9;
const COMPLETE: u32 = 10;

/// A state's place in a task's life; 0 for states that are not shown.
fn rank(state: &str) -> u32 {
    match state {
        "new" => 1,
        "allocated" => 2,
        "pending" => 3,
        "assigned" => 4,
        "accepted" => 5,
        "preparing" => 6,
        "ready" => 7,
        "starting" => 8,
        "running" => RUNNING,
        "complete" => COMPLETE,
        "shutdown" => 11,
        "failed" => 12,
        "rejected" => 13,
        _ => 0,
    }
}

/// The warnings of a create or update answer.
pub(crate) fn warnings(answer: &Value) -> Vec<&str> {
    list(answer, "/Warnings")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests;
