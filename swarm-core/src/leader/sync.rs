//! From changes of the store to what has to be looked at: a task makes its service dirty, a node the services that have
//! tasks on it and all global ones.

use super::Leader;
use crate::{
    id::{NodeId, ServiceId, TaskId},
    model::{ServiceMode, Task, TaskState},
    orchestrator::Started,
    store::{ObjectId, Store, Touched},
};

impl Leader {
    /// Accounts for everything that was applied since the last step.
    pub(super) fn sync(&mut self, store: &Store) {
        let changes = self.seen.and_then(|seen| store.changes_since(seen));
        match changes {
            Some(changes) => {
                for touched in changes {
                    self.note(store, touched);
                }
            }
            None => self.note_everything(store),
        }
        self.seen = Some(store.index());
    }

    fn note(&mut self, store: &Store, touched: &Touched) {
        match &touched.id {
            ObjectId::Cluster(_) => self.dirty.networks = true,
            ObjectId::Network(_) => {
                self.dirty.networks = true;
                self.dirty.room = true;
            }
            ObjectId::Service(id) => {
                self.dirty.services.insert(id.clone());
            }
            ObjectId::Node(id) => self.note_node(store, id),
            ObjectId::Task(id) => self.note_task(store, id, touched.service.as_ref()),
        }
    }

    fn note_node(&mut self, store: &Store, id: &NodeId) {
        self.dirty.nodes.insert(id.clone());
        self.dirty.room = true;
        for task in store.tasks_of_node(id) {
            self.dirty.services.insert(task.service.clone());
        }
        for service in store.services() {
            match service.spec.mode {
                ServiceMode::Global => drop(self.dirty.services.insert(service.id.clone())),
                ServiceMode::Replicated { .. } => {}
            }
        }
        if store.node(id).is_none() {
            self.sessions.forget(id);
        }
    }

    fn note_task(&mut self, store: &Store, id: &TaskId, service: Option<&ServiceId>) {
        self.dirty.services.extend(service.cloned());
        self.dirty.unallocated.remove(id);
        self.dirty.unplaced.remove(id);
        let Some(task) = store.task(id) else {
            self.dirty.room |= self.placements.forget(id);
            self.started.remove(id);
            return;
        };
        self.dirty.room |= self.placements.account(task);
        self.note_waiting(task);
        if task.status.state == TaskState::Running && !self.started.contains_key(id) {
            let started = Started {
                seen: task.meta.updated_at,
                reported: task.status.timestamp,
            };
            self.started.insert(id.clone(), started);
        }
    }

    fn note_waiting(&mut self, task: &Task) {
        if !task.is_wanted() {
            return;
        }
        match task.status.state {
            TaskState::New => {
                self.dirty.unallocated.insert(task.id.clone());
                self.dirty.room = true;
            }
            TaskState::Pending => {
                self.dirty.unplaced.insert(task.id.clone());
                self.dirty.room = true;
            }
            TaskState::Assigned
            | TaskState::Accepted
            | TaskState::Preparing
            | TaskState::Ready
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Complete
            | TaskState::Shutdown
            | TaskState::Failed
            | TaskState::Rejected
            | TaskState::Remove
            | TaskState::Orphaned => {}
        }
    }

    /// The first step of a leader, or one that slept too long.
    fn note_everything(&mut self, store: &Store) {
        self.placements = crate::scheduler::Placements::default();
        self.dirty.networks = true;
        self.dirty.room = true;
        self.dirty
            .nodes
            .extend(store.nodes().map(|node| node.id.clone()));
        let services = store.services().map(|service| service.id.clone());
        self.dirty.services.extend(services);
        self.dirty
            .services
            .extend(store.services_with_tasks().cloned());
        for task in store.tasks() {
            self.note_task(store, &task.id, Some(&task.service));
        }
    }
}
