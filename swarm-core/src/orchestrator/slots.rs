//! The tasks of a service, grouped by the place they fill.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    id::NodeId,
    model::{Service, ServiceMode, Task, TaskState},
    store::Draft,
};

/// One wanted place of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotKey {
    /// A number, from 1.
    Number(u64),
    /// A node.
    Node(NodeId),
}

impl SlotKey {
    pub(super) fn of(service: &Service, task: &Task) -> Self {
        match service.spec.mode {
            ServiceMode::Replicated { .. } => Self::Number(task.slot),
            ServiceMode::Global => Self::Node(task.node.clone()),
        }
    }
}

/// The incarnations in one place, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot<'t> {
    pub(super) tasks: Vec<&'t Task>,
}

impl<'t> Slot<'t> {
    /// Tasks that are wanted to run.
    pub(super) fn live(&self) -> impl Iterator<Item = &'t Task> {
        self.tasks.iter().copied().filter(|task| task.is_wanted())
    }

    pub(super) fn newest(&self) -> Option<&'t Task> {
        self.tasks.last().copied()
    }
}

/// All slots of a service. Tasks that are being removed fill no slot.
#[derive(Debug, Default)]
pub(super) struct Slots<'t> {
    pub(super) by_key: BTreeMap<SlotKey, Slot<'t>>,
}

impl<'t> Slots<'t> {
    pub(super) fn of(draft: &'t Draft<'_>, service: &Service) -> Self {
        let mut by_key: BTreeMap<SlotKey, Slot<'t>> = BTreeMap::new();
        for task in draft.tasks_of_service(&service.id) {
            if task.desired_state != TaskState::Remove {
                let slot = by_key.entry(SlotKey::of(service, task)).or_default();
                slot.tasks.push(task);
            }
        }
        for slot in by_key.values_mut() {
            slot.tasks.sort_by(|a, b| {
                let key = |task: &'t Task| (task.meta.created_at, task.spec_version, &task.id);
                key(a).cmp(&key(b))
            });
        }
        Self { by_key }
    }
}
