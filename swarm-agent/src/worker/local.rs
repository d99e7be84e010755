//! What the agent knows of its own tasks beyond the managers' assignments, kept over restarts: last status, container and
//! node-local address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};
use swarm_core::{
    id::TaskId,
    model::{TaskState, TaskStatus},
};

/// One task as its node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalTask {
    /// Last observed status.
    pub(crate) status: TaskStatus,
    /// Its container's identifier, chosen before the container is made.
    pub(crate) container_id: String,
    /// Its address on the node-local network, if it is on no overlay.
    pub(crate) local_address: Option<Ipv4Addr>,
}

/// All tasks of this node.
pub(crate) type LocalTasks = BTreeMap<TaskId, LocalTask>;

/// First and last host part of the node-local network 172.17.0.0/16 that tasks get; .0.1 is its gateway.
const LOCAL_HOSTS: std::ops::RangeInclusive<u16> = 2..=65_534;

/// A free address on the node-local network; `None` if all are taken.
pub(crate) fn free_local_address(tasks: &LocalTasks) -> Option<Ipv4Addr> {
    let live = tasks
        .values()
        .filter(|task| !task.status.state.is_terminal());
    let taken: BTreeSet<Ipv4Addr> = live.filter_map(|task| task.local_address).collect();
    LOCAL_HOSTS
        .map(|host| {
            let [high, low] = host.to_be_bytes();
            Ipv4Addr::new(172, 17, high, low)
        })
        .find(|address| !taken.contains(address))
}

impl LocalTask {
    /// A task that was just assigned.
    pub(crate) fn new(container_id: String, local_address: Option<Ipv4Addr>) -> Self {
        let status = TaskStatus {
            state: TaskState::Assigned,
            ..TaskStatus::default()
        };
        Self {
            status,
            container_id,
            local_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_live_tasks_are_not_given_twice() {
        let mut tasks = LocalTasks::new();
        let ids = ["0000000000000000000000001", "0000000000000000000000002"];
        for (index, id) in ids.iter().enumerate() {
            let address = free_local_address(&tasks);
            assert_eq!(
                address,
                Some(Ipv4Addr::new(172, 17, 0, 2 + u8::try_from(index).unwrap()))
            );
            tasks.insert(id.parse().unwrap(), LocalTask::new(String::new(), address));
        }
        if let Some(first) = tasks.get_mut(ids[0]) {
            first.status.state = TaskState::Failed;
        }
        assert_eq!(
            free_local_address(&tasks),
            Some(Ipv4Addr::new(172, 17, 0, 2))
        );
    }
}
