//! After the faults are gone the cluster comes to rest with every service running as asked, and what runs on the nodes is what
//! the managers believe.

use std::collections::BTreeSet;

use swarm_core::{
    id::{NodeId, TaskId},
    model::{NodeState, Service, ServiceMode, TaskState},
    store::Store,
};

/// Checks a state at rest; `runs` tells what really runs on a node.
pub(crate) fn check(
    store: &Store,
    runs: impl Fn(&NodeId) -> BTreeSet<TaskId>,
) -> Result<(), String> {
    for service in store.services() {
        check_service(store, service)?;
    }
    for node in store.nodes() {
        let state = node.status.state;
        if state != NodeState::Ready {
            return Err(format!(
                "node {} is {state:?}: {}",
                node.id, node.status.message
            ));
        }
        let believed: BTreeSet<TaskId> = store
            .tasks_of_node(&node.id)
            .filter(|task| task.status.state == TaskState::Running)
            .map(|task| task.id.clone())
            .collect();
        let real = runs(&node.id);
        if believed != real {
            return Err(format!(
                "node {} runs {real:?}, the managers believe {believed:?}",
                node.id
            ));
        }
    }
    let orphan = store
        .tasks()
        .find(|task| !task.status.state.is_terminal() && store.service(&task.service).is_none());
    match orphan {
        Some(task) => Err(format!(
            "task {} is {:?}, its service is gone",
            task.id, task.status.state
        )),
        None => Ok(()),
    }
}

fn check_service(store: &Store, service: &Service) -> Result<(), String> {
    let wanted = match service.spec.mode {
        ServiceMode::Replicated { replicas } => replicas,
        ServiceMode::Global => store.nodes().count() as u64,
    };
    let tasks = store.tasks_of_service(&service.id);
    let running = tasks.filter(|task| task.is_wanted() && task.status.state == TaskState::Running);
    // Of a replicated service every slot counts once, of a global one every node.
    let places: BTreeSet<(u64, Option<&NodeId>)> = running
        .map(|task| (task.slot, (task.slot == 0).then_some(&task.node)))
        .collect();
    if places.len() as u64 == wanted {
        return Ok(());
    }
    let states: Vec<String> = store
        .tasks_of_service(&service.id)
        .map(|task| {
            format!(
                "{} {:?}/{:?} {}",
                task.name(),
                task.status.state,
                task.desired_state,
                task.status.err
            )
        })
        .collect();
    Err(format!(
        "service {} runs {} of {wanted}: {}",
        service.spec.annotations.name,
        places.len(),
        states.join("; ")
    ))
}
