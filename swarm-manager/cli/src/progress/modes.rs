//! One display per service mode: which tasks count, and the lines they make.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{COMPLETE, Line, ProgressError, RUNNING, TaskView, View};
use crate::format::text::short_id;
use crate::values::object::{has, number, uint};

/// With more tasks than this, only the overall line is shown.
const MOST_BARS: u64 = 20;
/// The width of the longest state's name.
const STATE_WIDTH: usize = 9;

/// The display of a service's mode, with what it remembers between polls.
#[derive(Debug)]
pub(super) enum Mode {
    Replicated(Replicated),
    Global(Global),
    ReplicatedJob(ReplicatedJob),
    GlobalJob(GlobalJob),
}

impl Mode {
    /// Chooses by the service's spec.
    pub(super) fn of(service: &Value) -> Result<Self, ProgressError> {
        if uint(service, "/Spec/Mode/Replicated/Replicas").is_some() {
            return Ok(Self::Replicated(Replicated::default()));
        }
        if has(service, "/Spec/Mode/Global") {
            return Ok(Self::Global(Global::default()));
        }
        if has(service, "/Spec/Mode/ReplicatedJob") {
            return ReplicatedJob::of(service).map(Self::ReplicatedJob);
        }
        if has(service, "/Spec/Mode/GlobalJob") {
            return Ok(Self::GlobalJob(GlobalJob::default()));
        }
        Err(ProgressError::Mode)
    }

    /// Takes a poll in; returns whether the service has converged.
    pub(super) fn update(
        &mut self,
        view: &View<'_>,
        lines: &mut Vec<Line>,
    ) -> Result<bool, ProgressError> {
        match self {
            Self::Replicated(mode) => mode.update(view, lines),
            Self::Global(mode) => Ok(mode.update(view, lines)),
            Self::ReplicatedJob(mode) => Ok(mode.update(view, lines)),
            Self::GlobalJob(mode) => Ok(mode.update(view, lines)),
        }
    }
}

fn overall(done: u64, of: u64, rollback: bool) -> Line {
    let prefix = if rollback {
        "rolling back update: "
    } else {
        ""
    };
    Line::new(
        "overall progress",
        format!("{prefix}{done} out of {of} tasks"),
    )
}

/// The line of one task: its error, else its state with a bar of `total` steps.
fn task_line(id: String, task: &TaskView, total: u32) -> Line {
    if !task.error.is_empty() {
        return Line::new(id, cut(&task.error));
    }
    let text = format!("{:<STATE_WIDTH$}", task.state_name);
    Line {
        bar: Some((task.state, total)),
        ..Line::new(id, text)
    }
}

/// An error on one line, at most 75 bytes long.
fn cut(error: &str) -> String {
    const WIDTH: usize = 75;
    let flat = error.replace('\n', " ");
    if flat.len() <= WIDTH {
        return flat;
    }
    let end = (0..WIDTH)
        .rev()
        .find(|at| flat.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &flat[..end])
}

/// Per key the task that is furthest from its end: lowest desired state, then lowest state.
fn choose<K: Ord>(
    tasks: &[TaskView],
    key: impl Fn(&TaskView) -> K,
    counts: impl Fn(&TaskView) -> bool,
) -> BTreeMap<K, &TaskView> {
    let mut chosen: BTreeMap<K, &TaskView> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.is_ranked()) {
        let known = chosen.get(&key(task));
        let keeps = known.is_some_and(|k| (k.desired, k.state) <= (task.desired, task.state));
        if !keeps && counts(task) {
            chosen.insert(key(task), task);
        }
    }
    chosen
}

#[derive(Debug, Default)]
pub(super) struct Replicated {
    started: bool,
    done: bool,
    /// Slots in the order they were first seen, so that rows are numbered without holes.
    rows: BTreeMap<i64, u64>,
}

impl Replicated {
    fn update(&mut self, view: &View<'_>, lines: &mut Vec<Line>) -> Result<bool, ProgressError> {
        let replicas = uint(view.service, "/Spec/Mode/Replicated/Replicas");
        let replicas = replicas.ok_or(ProgressError::Replicas)?;
        if !self.started {
            lines.push(overall(0, replicas, view.rollback));
            if replicas <= MOST_BARS {
                lines.extend((1..=replicas).map(|row| Line::new(format!("{row}/{replicas}"), " ")));
            }
            self.started = true;
        }
        let on_live_node = |t: &TaskView| t.node.is_empty() || view.active.contains(&t.node);
        let tasks = choose(view.tasks, |task| task.slot, on_live_node);
        if tasks.values().any(|task| task.state != RUNNING) {
            self.done = false;
        }
        let mut running = 0;
        for (slot, task) in &tasks {
            let next = self.rows.len() as u64 + 1;
            let row = *self.rows.entry(*slot).or_insert(next);
            running += u64::from(task.is_running());
            let shown = !self.done && replicas <= MOST_BARS && row <= replicas;
            if shown && (!task.error.is_empty() || task.is_alive()) {
                lines.push(task_line(format!("{row}/{replicas}"), task, RUNNING));
            }
        }
        if !self.done {
            lines.push(overall(running, replicas, view.rollback));
            self.done = running == replicas;
        }
        Ok(running == replicas)
    }
}

#[derive(Debug, Default)]
pub(super) struct Global {
    started: bool,
    done: bool,
}

impl Global {
    fn update(&mut self, view: &View<'_>, lines: &mut Vec<Line>) -> bool {
        let tasks = choose(view.tasks, |task| task.node.clone(), |_| true);
        let nodes = tasks.len() as u64;
        if !self.started {
            // Either the tasks are not created yet, or no node fits: both mean waiting.
            if nodes == 0 {
                lines.push(Line::new("overall progress", "waiting for new tasks"));
                return false;
            }
            lines.push(overall(0, nodes, view.rollback));
            self.started = true;
        }
        if tasks.values().any(|task| task.state != RUNNING) {
            self.done = false;
        }
        let mut running = 0;
        for (node, task) in tasks.iter().filter(|(node, _)| view.active.contains(*node)) {
            running += u64::from(task.is_running());
            let shown = !self.done && nodes <= MOST_BARS;
            if shown && (!task.error.is_empty() || task.is_alive()) {
                lines.push(task_line(short_id(node).to_owned(), task, RUNNING));
            }
        }
        if !self.done {
            lines.push(overall(running, nodes, view.rollback));
            self.done = running == nodes;
        }
        running == nodes
    }
}

#[derive(Debug)]
pub(super) struct ReplicatedJob {
    started: bool,
    iteration: i64,
    concurrent: u64,
    total: u64,
}

impl ReplicatedJob {
    fn of(service: &Value) -> Result<Self, ProgressError> {
        if !has(service, "/JobStatus") {
            return Err(ProgressError::JobStatus);
        }
        let count = |field: &str| {
            let pointer = format!("/Spec/Mode/ReplicatedJob/{field}");
            uint(service, &pointer).ok_or(ProgressError::Replicas)
        };
        Ok(Self {
            started: false,
            iteration: number(service, "/JobStatus/JobIteration/Index"),
            concurrent: count("MaxConcurrent")?,
            total: count("TotalCompletions")?,
        })
    }

    fn update(&mut self, view: &View<'_>, lines: &mut Vec<Line>) -> bool {
        if !self.started {
            self.overall(0, 0, lines);
            if self.total <= MOST_BARS {
                let rows = 1..=self.total;
                lines.extend(rows.map(|row| Line::new(format!("{row}/{}", self.total), " ")));
            }
            self.started = true;
        }
        let current = |t: &&TaskView| t.is_ranked() && t.iteration == Some(self.iteration);
        let mut tasks: BTreeMap<i64, &TaskView> = BTreeMap::new();
        for task in view.tasks.iter().filter(current) {
            let known = tasks.entry(task.slot).or_insert(task);
            if known.state > task.state {
                *known = task;
            }
        }
        let (mut active, mut complete) = (0, 0);
        for task in tasks.values() {
            if self.total <= MOST_BARS {
                lines.push(task_line(
                    format!("{}/{}", task.slot + 1, self.total),
                    task,
                    COMPLETE,
                ));
            }
            active += u64::from(task.state < COMPLETE);
            complete += u64::from(task.state == COMPLETE);
        }
        self.overall(active, complete, lines);
        complete == self.total
    }

    fn overall(&self, active: u64, complete: u64, lines: &mut Vec<Line>) {
        let digits = self.total.to_string().len();
        let text = format!("{complete:>digits$} out of {} complete", self.total);
        lines.push(Line {
            bar: Some((small(complete), small(self.total))),
            ..Line::new("job progress", text)
        });
        let wanted = self.total.saturating_sub(complete).min(self.concurrent);
        let digits = self.concurrent.to_string().len();
        let text = format!("{active:>digits$} out of {wanted:>digits$} tasks");
        lines.push(Line::new("active tasks", text));
    }
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The task of each node that has the longest way to go.
fn least_advanced<'a>(
    tasks: impl Iterator<Item = &'a TaskView>,
) -> BTreeMap<&'a str, &'a TaskView> {
    let mut by_node: BTreeMap<&str, &TaskView> = BTreeMap::new();
    for task in tasks {
        let known = by_node.entry(task.node.as_str()).or_insert(task);
        if known.state > task.state {
            *known = task;
        }
    }
    by_node
}

#[derive(Debug, Default)]
pub(super) struct GlobalJob {
    /// The nodes that had a task when the job started; nodes that join later are not waited for.
    nodes: Option<BTreeSet<String>>,
}

impl GlobalJob {
    fn update(&mut self, view: &View<'_>, lines: &mut Vec<Line>) -> bool {
        let iteration = number(view.service, "/JobStatus/JobIteration/Index");
        let current = |t: &&TaskView| t.iteration == Some(iteration);
        if self.nodes.is_none() {
            if view.tasks.is_empty() && !view.active.is_empty() {
                lines.push(Line::new("job progress", "waiting for tasks"));
                return false;
            }
            let nodes: BTreeSet<String> = view
                .tasks
                .iter()
                .filter(current)
                .map(|task| task.node.clone())
                .collect();
            lines.push(Self::overall(0, nodes.len()));
            self.nodes = Some(nodes);
        }
        let Some(nodes) = &self.nodes else {
            return false;
        };
        let expected = view
            .tasks
            .iter()
            .filter(current)
            .filter(|task| nodes.contains(&task.node));
        let tasks = least_advanced(expected);
        if nodes.len() as u64 <= MOST_BARS {
            lines.extend(
                tasks
                    .iter()
                    .map(|(n, task)| task_line((*n).to_owned(), task, COMPLETE)),
            );
        }
        let complete = tasks.values().filter(|task| task.state == COMPLETE).count();
        lines.push(Self::overall(complete, nodes.len()));
        complete == nodes.len()
    }

    fn overall(complete: usize, total: usize) -> Line {
        let digits = total.to_string().len();
        let text = format!("{complete:>digits$} out of {total} complete");
        let bar = Some((small(complete as u64), small(total as u64)));
        Line {
            bar,
            ..Line::new("job progress", text)
        }
    }
}
