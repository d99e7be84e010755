//! Ranks nodes: first evenly over the values of the spread preferences, then the node with the fewest tasks of the
//! service, then with the fewest tasks at all. Nodes where the service failed often come last.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use super::placements::Placements;
use crate::{
    constraint,
    id::NodeId,
    model::{Node, Task},
    time::Timestamp,
};

/// Position of a node among the nodes of one branch; the smallest is best.
type Rank = (u64, u64, u64, NodeId);

/// The candidates for the tasks of one group, best first.
pub(super) struct Ranking {
    ranks: BTreeMap<NodeId, (Vec<String>, Rank)>,
    root: Branch,
}

/// Nodes with the same values of the preferences so far.
#[derive(Default)]
struct Branch {
    /// Tasks of the service in this branch.
    tasks: u64,
    nodes: BTreeSet<Rank>,
    branches: BTreeMap<String, Self>,
}

impl Ranking {
    pub(super) fn new(
        task: &Task,
        nodes: &[&Node],
        placements: &Placements,
        now: Timestamp,
    ) -> Self {
        let mut ranking = Self {
            ranks: BTreeMap::new(),
            root: Branch::default(),
        };
        for node in nodes {
            let keys = task.spec.placement.spread.iter();
            let path: Vec<String> = keys.map(|key| constraint::node_value(key, node)).collect();
            let usage = placements.usage(&node.id);
            let rank = (
                placements.failures(task, &node.id, now),
                usage.of_service(&task.service),
                usage.tasks,
                node.id.clone(),
            );
            ranking.root.insert(&path, rank.clone(), rank.1);
            ranking.ranks.insert(node.id.clone(), (path, rank));
        }
        ranking
    }

    /// The best node.
    pub(super) fn best(&self) -> Option<NodeId> {
        self.root.best().map(|rank| rank.3.clone())
    }

    /// A node takes no more.
    pub(super) fn remove(&mut self, node: &NodeId) {
        if let Some((path, rank)) = self.ranks.remove(node) {
            self.root.remove(&path, &rank);
        }
    }

    /// A node took one task of the group.
    pub(super) fn placed(&mut self, node: &NodeId) {
        if let Some((path, rank)) = self.ranks.remove(node) {
            self.root.remove(&path, &rank);
            let next = (
                rank.0,
                rank.1.saturating_add(1),
                rank.2.saturating_add(1),
                rank.3,
            );
            self.root.insert(&path, next.clone(), 1);
            self.ranks.insert(node.clone(), (path, next));
        }
    }
}

impl Branch {
    fn insert(&mut self, path: &[String], rank: Rank, tasks: u64) {
        self.tasks = self.tasks.saturating_add(tasks);
        match path.split_first() {
            Some((value, rest)) => {
                let branch = self.branches.entry(value.clone()).or_default();
                branch.insert(rest, rank, tasks);
            }
            None => drop(self.nodes.insert(rank)),
        }
    }

    /// Takes a node out; its tasks stay counted, as they still run in this branch.
    fn remove(&mut self, path: &[String], rank: &Rank) {
        match path.split_first() {
            Some((value, rest)) => {
                if let Some(branch) = self.branches.get_mut(value) {
                    branch.remove(rest, rank);
                }
            }
            None => drop(self.nodes.remove(rank)),
        }
    }

    fn best(&self) -> Option<&Rank> {
        if self.branches.is_empty() {
            return self.nodes.first();
        }
        let mut by_load: Vec<(&u64, &Self)> = self
            .branches
            .values()
            .map(|branch| (&branch.tasks, branch))
            .collect();
        by_load.sort_by_key(|(tasks, _branch)| **tasks);
        by_load
            .into_iter()
            .find_map(|(_tasks, branch)| branch.best())
    }
}
