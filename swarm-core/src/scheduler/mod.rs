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
        if !task.is_wanted() {
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
    let mut chosen: Vec<(Task, NodeId)> = Vec::new();
    let mut left: Vec<TaskId> = Vec::new();
    for id in ids {
        let Some(task) = draft.task(id).cloned() else {
            continue;
        };
        // A node that was ranked may have filled up by the placements before this one.
        let node = loop {
            let Some(node) = ranking.best() else {
                break None;
            };
            let verdict = draft
                .node(&node)
                .map(|node| filters.check(node, placements));
            match verdict {
                Some(Ok(())) => break Some(node),
                Some(Err(reason)) => refusals.count(reason),
                None => {}
            }
            ranking.remove(&node);
        };
        match node {
            Some(node) => {
                ranking.placed(&node);
                placements.reserve(&task, &node);
                chosen.push((task, node));
            }
            None => left.push(id.clone()),
        }
    }
    for (task, node) in chosen {
        assign(draft, placements, &task, &node);
    }
    let text = refusals.text();
    for id in left {
        explain(draft, &id, text.clone());
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
    if !known {
        draft.edit_task(id, |task| task.status.err = text);
    }
}

#[cfg(test)]
mod tests;
