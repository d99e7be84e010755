//! One pass over everything that is dirty, phase by phase; each phase sees what the earlier ones decided.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Leader;
use crate::{
    allocator::{
        AllocationError, allocate_network, allocate_node, allocate_service, allocate_task,
    },
    id::{NetworkId, NodeId, Random, ServiceId, TaskId},
    orchestrator::{Barrier, settle_service},
    scheduler::schedule,
    store::Draft,
};

impl Leader {
    pub(super) fn settle(&mut self, draft: &mut Draft<'_>, rng: &mut dyn Random) {
        self.settle_networks(draft);
        self.settle_nodes(draft);
        let problems = self.settle_services(draft, rng);
        let mut waiting = self.retried(&self.dirty.unallocated);
        waiting.extend(draft.new_tasks());
        for id in waiting {
            if !draft.may_touch(&id) {
                continue;
            }
            let service = draft.task(&id).map(|task| task.service.clone());
            let problem = service.and_then(|service| problems.get(&service));
            // A failure is written into the task's status; the task is tried again when something changes.
            drop(allocate_task(draft, &id, problem));
        }
        self.settle_placements(draft);
    }

    /// Tasks that could not get what they need are tried again only when something changed that may help them.
    fn retried(&self, waiting: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        if self.dirty.room || self.dirty.networks {
            waiting.clone()
        } else {
            BTreeSet::new()
        }
    }

    fn settle_networks(&self, draft: &mut Draft<'_>) {
        if !self.dirty.networks {
            return;
        }
        let pending = draft
            .networks()
            .filter(|network| network.allocation.is_none());
        // The mesh's network comes first: it gets the first subnet and VNI.
        let mut pending: Vec<(bool, NetworkId)> = pending
            .map(|network| (!network.spec.ingress, network.id.clone()))
            .collect();
        pending.sort();
        for (_later, id) in pending {
            if draft.is_full() {
                break;
            }
            // Shown by the tasks that wait for the network; refused at its creation where it could be foreseen.
            drop(allocate_network(draft, &id));
        }
    }

    fn settle_nodes(&self, draft: &mut Draft<'_>) {
        let ingress = draft
            .ingress_network()
            .filter(|found| found.allocation.is_some());
        let Some(ingress) = ingress.map(|found| found.id.clone()) else {
            return;
        };
        let missing = |id: &NodeId| {
            let attachment = draft.node(id).and_then(|node| node.attachment.as_ref());
            attachment.is_none_or(|found| found.network != ingress)
        };
        let candidates: Vec<NodeId> = if self.dirty.networks {
            draft
                .nodes()
                .map(|node| node.id.clone())
                .filter(missing)
                .collect()
        } else {
            self.dirty
                .nodes
                .iter()
                .filter(|id| missing(id))
                .cloned()
                .collect()
        };
        for id in candidates {
            if draft.is_full() {
                break;
            }
            // Without an address the node's own processes do not reach the mesh; tasks are not affected.
            drop(allocate_node(draft, &id, &ingress));
        }
    }

    /// Gives services their endpoints and lets their orchestrators decide; returns why endpoints could not be given.
    fn settle_services(
        &mut self,
        draft: &mut Draft<'_>,
        rng: &mut dyn Random,
    ) -> BTreeMap<ServiceId, AllocationError> {
        let mut problems = BTreeMap::new();
        let mut dirty = self.dirty.services.clone();
        for id in self.retried(&self.dirty.unallocated) {
            dirty.extend(draft.task(&id).map(|task| task.service.clone()));
        }
        let barrier = Barrier {
            programmed: self.barrier,
        };
        for id in &dirty {
            if draft.is_full() {
                break;
            }
            if let Err(problem) = allocate_service(draft, id) {
                problems.insert(id.clone(), problem);
            }
            let settled = settle_service(draft, id, &self.started, barrier, rng);
            match settled.wake {
                Some(at) => drop(self.timers.insert(id.clone(), at)),
                None => drop(self.timers.remove(id)),
            }
            if settled.draining {
                self.draining.insert(id.clone());
            } else {
                self.draining.remove(id);
            }
        }
        problems
    }

    fn settle_placements(&mut self, draft: &mut Draft<'_>) {
        let mut waiting = self.retried(&self.dirty.unplaced);
        waiting.extend(draft.pending_tasks());
        let waiting: Vec<TaskId> = waiting.into_iter().collect();
        if waiting.is_empty() {
            return;
        }
        // What this step stops is room for what it starts. Should the step be refused, the next one corrects it.
        for task in draft.touched_tasks() {
            self.placements.account(task);
        }
        schedule(draft, &mut self.placements, &waiting);
    }
}
