//! Chooses nodes for tasks. Tasks of one service and specification are placed together: the nodes that pass all filters
//! are ranked once, and each placement moves one node down. A task that fits nowhere says why, counted by reason.

mod explain;
mod filter;
mod placements;
mod spread;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

pub(crate) use placements::Placements;

use crate::{
    id::{NodeId, ServiceId, TaskId},
    model::{
        Node, Task, TaskState, TaskStatus,
        transition::{self, Component},
    },
    store::Draft,
};
use explain::Refusals;
use filter::Filters;
use spread::Ranking;

/// Places what can be placed and explains the rest.
pub(crate) fn schedule(draft: &mut Draft<'_>, placements: &mut Placements, waiting: &[TaskId]) {
    let mut groups: BTreeMap<(ServiceId, u64), Vec<TaskId>> = BTreeMap::new();
    for id in waiting {
        let Some(task) = draft
            .task(id)
            .filter(|task| task.status.state == TaskState::Pending)
        else {
            continue;
        };
        if !task.is_wanted() || !draft.may_touch(id) {
            continue;
        }
        if task.node.is_empty() {
            let group = groups.entry((task.service.clone(), task.spec_version));
            group.or_default().push(id.clone());
        } else {
            let task = task.clone();
            confirm(draft, placements, &task);
        }
    }
    for mut ids in groups.into_values() {
        // Lower slots first: people expect `web.1` on the best node.
        ids.sort_by_key(|id| draft.task(id).map(|task| task.slot));
        place_group(draft, placements, &ids);
    }
}

/// A task that was made for a node (global service): checked, not chosen.
fn confirm(draft: &mut Draft<'_>, placements: &mut Placements, task: &Task) {
    let filters = Filters::new(task);
    let mut refusals = Refusals::default();
    let verdict = draft
        .node(&task.node)
        .map(|node| filters.check(node, placements));
    match verdict {
        Some(Ok(())) => assign(draft, placements, task, &task.node),
        Some(Err(reason)) => {
            refusals.count(reason);
            explain(draft, &task.id, refusals.text());
        }
        None => explain(draft, &task.id, refusals.text()),
    }
}

fn place_group(draft: &mut Draft<'_>, placements: &mut Placements, ids: &[TaskId]) {
    let Some(first) = ids.first().and_then(|id| draft.task(id)).cloned() else {
        return;
    };
    let filters = Filters::new(&first);
    let mut refusals = Refusals::default();
    let mut fitting: Vec<&Node> = Vec::new();
    for node in draft.nodes() {
        match filters.check(node, placements) {
            Ok(()) => fitting.push(node),
            Err(reason) => refusals.count(reason),
        }
    }
    let mut ranking = Ranking::new(&first, &fitting, placements, draft.now());
    for id in ids {
        let Some(task) = draft.task(id).cloned().filter(|_task| draft.may_touch(id)) else {
            continue;
        };
        match next_node(draft, placements, &filters, &mut ranking, &mut refusals) {
            Some(node) => {
                ranking.placed(&node);
                assign(draft, placements, &task, &node);
            }
            None => explain(draft, id, refusals.text()),
        }
    }
}

/// The best node that still takes a task: one that was ranked may have filled up since.
fn next_node(
    draft: &Draft<'_>,
    placements: &Placements,
    filters: &Filters,
    ranking: &mut Ranking,
    refusals: &mut Refusals,
) -> Option<NodeId> {
    loop {
        let node = ranking.best()?;
        let verdict = draft
            .node(&node)
            .map(|node| filters.check(node, placements));
        match verdict {
            Some(Ok(())) => return Some(node),
            Some(Err(reason)) => refusals.count(reason),
            None => {}
        }
        ranking.remove(&node);
    }
}

fn assign(draft: &mut Draft<'_>, placements: &mut Placements, task: &Task, node: &NodeId) {
    let mut task = task.clone();
    task.node = node.clone();
    let next = TaskStatus {
        timestamp: draft.now(),
        state: TaskState::Assigned,
        message: String::from("scheduler assigned task to node"),
        ..TaskStatus::default()
    };
    if transition::advance(Component::Scheduler, &mut task.status, next).is_ok() {
        placements.reserve(&task, node);
        draft.put_task(task);
    }
}

fn explain(draft: &mut Draft<'_>, id: &TaskId, text: String) {
    let known = draft.task(id).is_some_and(|task| task.status.err == text);
    if !known && draft.may_touch(id) {
        draft.edit_task(id, |task| task.status.err = text);
    }
}

#[cfg(test)]
mod tests;
