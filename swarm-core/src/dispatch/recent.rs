//! Whom the last changes concern, worked out once for all sessions.

use alloc::collections::VecDeque;

use super::{Affected, affected_nodes};
use crate::{id::NodeId, store::Store};

/// Steps that are remembered; a session that slept longer looks at everything.
const STEPS: usize = 256;

/// What changed between two looks at the store.
#[derive(Debug)]
struct Step {
    /// Store indexes: after `from`, up to and including `to`.
    from: u64,
    to: u64,
    affected: Affected,
}

/// The last changes and the nodes whose assignments they may touch.
#[derive(Debug, Default)]
pub struct RecentChanges {
    steps: VecDeque<Step>,
}

impl RecentChanges {
    /// Whether what `node` is told may differ between the store as it was at index `since` and now.
    pub fn concern(&mut self, store: &Store, node: &NodeId, since: u64) -> bool {
        self.extend(store);
        let known = self.steps.front().is_some_and(|step| step.from <= since);
        let newer = self.steps.iter().filter(|step| step.to > since);
        let mut affected = newer.map(|step| match &step.affected {
            Affected::All => true,
            Affected::Nodes(nodes) => nodes.contains(node),
        });
        !known || affected.any(|is| is)
    }

    /// Accounts for what was applied since the last call.
    fn extend(&mut self, store: &Store) {
        let to = store.index();
        let from = self.steps.back().map_or(to, |step| step.to);
        if from == to && !self.steps.is_empty() {
            return;
        }
        let changes = store.changes_since(from);
        let affected = changes.map_or(Affected::All, |changes| affected_nodes(store, changes));
        self.steps.push_back(Step { from, to, affected });
        if self.steps.len() > STEPS {
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::TaskState,
        testing::{Cluster, id, service_spec},
    };

    #[test]
    fn a_change_is_looked_at_by_those_it_concerns_and_by_who_slept_too_long() {
        let mut cluster = Cluster::new(&["n1", "n2"]);
        let service = cluster.create(service_spec("db", 2)).unwrap();
        cluster.run();
        let mut recent = RecentChanges::default();
        let start = cluster.store.index();
        // Nothing is known about the time before the first look.
        assert!(recent.concern(&cluster.store, &id("n1"), start - 1));
        assert!(!recent.concern(&cluster.store, &id("n1"), start));

        let task = cluster.running(&service)[0].clone();
        let other = if task.node == id("n1") { "n2" } else { "n1" };
        cluster.report(&task.id, TaskState::Failed, "");
        assert!(recent.concern(&cluster.store, &task.node, start));
        assert!(!recent.concern(&cluster.store, &id(other), start));
        assert!(!recent.concern(&cluster.store, &task.node, cluster.store.index()));

        // The cluster and every node concern everybody; what came before stays known.
        let before = cluster.store.index();
        let rotated = crate::control::rotate_token(
            &cluster.store,
            crate::model::Role::Worker,
            cluster.now,
            &mut cluster.rng,
        );
        cluster.commit(rotated.unwrap());
        assert!(recent.concern(&cluster.store, &id(other), before));
        let before = cluster.store.index();
        cluster.silent.push(id("n2"));
        cluster.pass(core::time::Duration::from_secs(3));
        assert!(recent.concern(&cluster.store, &id(other), before));
        assert!(recent.concern(&cluster.store, &task.node, start));
    }
}
