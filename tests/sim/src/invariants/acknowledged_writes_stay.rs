//! No acknowledged write is lost (`docs/consensus.md`, rules 1 and 2): what was confirmed to a client stays at its place in
//! the log, and what a client made and nobody took away is there at the end.

use std::collections::{BTreeMap, BTreeSet};

use swarm_core::store::{Store, Transaction};

use crate::history::History;

/// What clients were promised.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Places of confirmed writes.
    last: u64,
    /// Names of services and networks whose creation was confirmed.
    created: BTreeSet<String>,
    /// Names that somebody has asked to remove.
    doomed: BTreeSet<String>,
    /// Names of services whose removal was confirmed.
    removed: BTreeSet<String>,
    /// The last confirmed scale of a service, unless another one may have taken effect.
    scales: BTreeMap<String, Option<u64>>,
}

impl Acknowledged {
    pub(crate) fn created(&mut self, name: &str, replicas: Option<u64>) {
        self.created.insert(name.to_owned());
        if let Some(replicas) = replicas {
            let known = self.scales.entry(name.to_owned()).or_insert(Some(replicas));
            *known = known.filter(|known| *known == replicas);
        }
    }

    /// A removal is about to be asked for.
    pub(crate) fn doomed(&mut self, name: &str) {
        self.doomed.insert(name.to_owned());
    }

    pub(crate) fn removed(&mut self, name: &str) {
        self.removed.insert(name.to_owned());
    }

    /// A change of scale is about to be asked for: until it is confirmed alone, the scale is not known.
    pub(crate) fn scaling(&mut self, name: &str) {
        self.scales.insert(name.to_owned(), None);
    }
}

/// A write was confirmed at `index`: it is what was committed there.
pub(crate) fn confirm(
    history: &mut History,
    index: u64,
    transaction: &Transaction,
) -> Result<(), String> {
    let position = usize::try_from(index).unwrap_or(usize::MAX);
    history.acknowledged.last = history.acknowledged.last.max(index);
    let committed = history
        .entries
        .get(position)
        .and_then(|entry| entry.command.as_ref());
    if committed.map(|command| &command.0) == Some(transaction) {
        return Ok(());
    }
    Err(format!(
        "a write was confirmed at {index}, where something else is committed"
    ))
}

/// At the end, against a member's state.
pub(crate) fn check_end(history: &History, store: &Store) -> Result<(), String> {
    let promised = &history.acknowledged;
    if store.index() < promised.last {
        return Err(format!(
            "a member ends at {}, but {} was confirmed",
            store.index(),
            promised.last
        ));
    }
    let exists =
        |name: &str| store.service_by_name(name).is_some() || store.network_by_name(name).is_some();
    for name in promised.created.difference(&promised.doomed) {
        if !exists(name) {
            return Err(format!(
                "{name} was created, nobody removed it, and it is gone"
            ));
        }
    }
    for name in &promised.removed {
        if exists(name) {
            return Err(format!("{name} was removed and is there"));
        }
    }
    for (name, replicas) in &promised.scales {
        let Some(replicas) = replicas else { continue };
        let Some(service) = store.service_by_name(name) else {
            continue;
        };
        let swarm_core::model::ServiceMode::Replicated { replicas: found } = service.spec.mode
        else {
            continue;
        };
        if found != *replicas {
            return Err(format!(
                "{name} was made with {replicas} replicas, nobody scaled it, and it has {found}"
            ));
        }
    }
    Ok(())
}
