//! A global service: one task on every node that fits its constraints. A node that is paused keeps its task and gets no
//! new one; one that is drained, down or no longer fits loses it.

use alloc::vec::Vec;

use super::{
    Context, Plan, restart,
    slots::{SlotKey, Slots},
    update,
};
use crate::{
    model::{Availability, Node, NodeState, TaskState},
    time::Timestamp,
};

pub(super) fn decide(context: Context<'_>, slots: &Slots<'_>, plan: &mut Plan) {
    let mut updatable = Vec::new();
    for node in context.draft.nodes() {
        let key = SlotKey::Node(node.id.clone());
        let fits = context.fits(node);
        let may_start = fits && accepts_tasks(node);
        match slots.by_key.get(&key) {
            Some(slot) if !fits => {
                for task in slot.live() {
                    plan.stop(&task.id, TaskState::Shutdown);
                }
            }
            Some(slot) if restart::is_filled(slot) => {
                restart::tend(context, &key, slot, may_start, plan);
                if may_start {
                    updatable.push(node.id.clone());
                }
            }
            Some(_) | None if may_start => {
                plan.create(key, TaskState::Running, Timestamp::default());
            }
            Some(_) | None => {}
        }
    }
    for (key, slot) in &slots.by_key {
        let SlotKey::Node(node) = key else { continue };
        if context.node(node).is_none() {
            for task in &slot.tasks {
                plan.stop(&task.id, TaskState::Remove);
            }
        }
    }
    let updatable = slots.by_key.iter().filter(|(key, _slot)| {
        let SlotKey::Node(node) = key else {
            return false;
        };
        updatable.contains(node)
    });
    update::decide(context, &updatable.collect::<Vec<_>>(), plan);
}

fn accepts_tasks(node: &Node) -> bool {
    node.spec.availability == Availability::Active && node.status.state == NodeState::Ready
}
