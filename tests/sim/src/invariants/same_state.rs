//! Members that have applied the same index have applied the same entries and hold the same state (`docs/consensus.md`,
//! rules 3, 4 and 5).

use swarm_core::store::Store;

use crate::{
    history::{Applied, History},
    raft::types::{Command, LogId, RaftId},
};

/// At every entry: it is the one that everybody else applied at this index.
pub(crate) fn check_entry(
    history: &History,
    member: RaftId,
    id: LogId,
    command: Option<&Command>,
) -> Result<(), String> {
    let next = history.entries.len() as u64;
    let position = usize::try_from(id.index).unwrap_or(usize::MAX);
    match history.entries.get(position) {
        Some(Applied {
            id: first,
            command: other,
        }) if *first == id && other.as_ref() == command => Ok(()),
        Some(other) => Err(format!(
            "member {member} applies {id} where another one applied {}",
            other.id
        )),
        None if id.index == next => Ok(()),
        None => Err(format!(
            "member {member} applies {id}, but nobody has applied {next}"
        )),
    }
}

/// After every entry: it changed as many objects as everywhere (all, or none if it was refused).
pub(crate) fn check_changes(
    history: &History,
    member: RaftId,
    store: &Store,
) -> Result<(), String> {
    let index = store.index();
    let count = |store: &Store| {
        let changes = store.changes_since(index.saturating_sub(1));
        changes.map(|changes| changes.filter(|change| change.index == index).count())
    };
    let (Some(here), Some(there)) = (count(store), count(&history.store)) else {
        return Ok(());
    };
    if history.store.index() == index && here != there {
        return Err(format!(
            "entry {index} changed {here} objects on member {member} and {there} elsewhere"
        ));
    }
    Ok(())
}

/// At snapshots and at the end: every object, every index over them.
pub(crate) fn check_whole(
    history: &mut History,
    member: RaftId,
    store: &Store,
) -> Result<(), String> {
    let index = store.index();
    let known = if history.store.index() == index {
        Some(&history.store)
    } else {
        history.milestones.get(&index)
    };
    match known {
        Some(known) if known != store => Err(format!(
            "member {member} has another state at {index} than the others: {}",
            difference(known, store)
        )),
        Some(_) => {
            if history.store.index() == index {
                let state = history.store.clone();
                history.milestones.insert(index, state);
            }
            Ok(())
        }
        None => Ok(()),
    }
}

fn difference(known: &Store, found: &Store) -> String {
    let mut differing = Vec::new();
    for task in known.tasks() {
        if found.task(&task.id) != Some(task) {
            differing.push(format!("task {}", task.id));
        }
    }
    for service in known.services() {
        if found.service(&service.id) != Some(service) {
            differing.push(format!("service {}", service.id));
        }
    }
    for node in known.nodes() {
        if found.node(&node.id) != Some(node) {
            differing.push(format!("node {}", node.id));
        }
    }
    for network in known.networks() {
        if found.network(&network.id) != Some(network) {
            differing.push(format!("network {}", network.id));
        }
    }
    if known.cluster() != found.cluster() {
        differing.push("cluster".to_owned());
    }
    if differing.is_empty() {
        differing.push("more objects, or an index over them".to_owned());
    }
    differing.join(", ")
}
