//! What runs where, kept up to date task by task, so that placing does not look at every task of the cluster. Volatile:
//! a new leader builds it from the store.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    id::{NodeId, ServiceId, TaskId},
    model::{PortConfig, Protocol, PublishMode, Resources, Task, TaskState},
    time::Timestamp,
};

/// What is in use on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Tasks that are wanted there.
    pub(super) tasks: u64,
    pub(super) reserved: Resources,
    services: BTreeMap<ServiceId, u64>,
    pub(super) host_ports: BTreeMap<(Protocol, u16), TaskId>,
}

impl Usage {
    pub(super) fn of_service(&self, service: &ServiceId) -> u64 {
        self.services.get(service).copied().unwrap_or_default()
    }

    fn discount(&mut self, service: &ServiceId) {
        self.tasks = self.tasks.saturating_sub(1);
        if let Some(count) = self.services.get_mut(service) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.services.remove(service);
            }
        }
    }
}

/// What one task uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Footprint {
    node: NodeId,
    service: ServiceId,
    /// A task that is stopping holds its resources but does not count in the ranking.
    wanted: bool,
    reserved: Resources,
    host_ports: Vec<(Protocol, u16)>,
}

/// A task that failed on a node.
#[derive(Clone, Debug)]
struct Failure {
    task: TaskId,
    spec_version: u64,
    at: Timestamp,
}

/// What runs where, and what failed where.
#[derive(Debug, Default)]
pub(crate) struct Placements {
    nodes: BTreeMap<NodeId, Usage>,
    tasks: BTreeMap<TaskId, Footprint>,
    failures: BTreeMap<(NodeId, ServiceId), Vec<Failure>>,
    unused: Usage,
}

/// Failures of a service on a node after which other nodes are preferred.
const MANY_FAILURES: u64 = 5;
/// How long a failure counts.
const FAILURE_MEMORY: core::time::Duration = core::time::Duration::from_mins(5);

impl Placements {
    pub(super) fn usage(&self, node: &NodeId) -> &Usage {
        self.nodes.get(node).unwrap_or(&self.unused)
    }

    /// Takes a task's current state in; returns whether something became free.
    pub(crate) fn account(&mut self, task: &Task) -> bool {
        let held = self.forget(&task.id);
        self.remember_failure(task);
        // A task that was made for a node is not there before the scheduler has confirmed it.
        let placed = task.status.state >= TaskState::Assigned;
        let live = placed && !task.status.state.is_terminal();
        if live {
            self.reserve(task, &task.node);
        }
        held && !live
    }

    /// Counts a task on a node.
    pub(super) fn reserve(&mut self, task: &Task, node: &NodeId) {
        self.forget(&task.id);
        let footprint = Footprint {
            node: node.clone(),
            service: task.service.clone(),
            wanted: task.is_wanted(),
            reserved: task.spec.resources.reservations,
            host_ports: host_ports(task)
                .map(|port| (port.protocol, port.published_port))
                .collect(),
        };
        let usage = self.nodes.entry(node.clone()).or_default();
        add(&mut usage.reserved, footprint.reserved);
        if footprint.wanted {
            usage.tasks = usage.tasks.saturating_add(1);
            let of_service = usage.services.entry(task.service.clone()).or_default();
            *of_service = of_service.saturating_add(1);
        }
        for port in &footprint.host_ports {
            usage
                .host_ports
                .entry(*port)
                .or_insert_with(|| task.id.clone());
        }
        self.tasks.insert(task.id.clone(), footprint);
    }

    /// Counts a task no more; returns whether it was counted.
    pub(crate) fn forget(&mut self, task: &TaskId) -> bool {
        let Some(footprint) = self.tasks.remove(task) else {
            return false;
        };
        if let Some(usage) = self.nodes.get_mut(&footprint.node) {
            subtract(&mut usage.reserved, footprint.reserved);
            if footprint.wanted {
                usage.discount(&footprint.service);
            }
            for port in &footprint.host_ports {
                if usage.host_ports.get(port) == Some(task) {
                    usage.host_ports.remove(port);
                }
            }
        }
        true
    }

    fn remember_failure(&mut self, task: &Task) {
        if !matches!(task.status.state, TaskState::Failed | TaskState::Rejected) {
            return;
        }
        let key = (task.node.clone(), task.service.clone());
        let failures = self.failures.entry(key).or_default();
        if failures.iter().any(|known| known.task == task.id) {
            return;
        }
        let at = task.status.timestamp;
        failures.retain(|known| at.since(known.at) <= FAILURE_MEMORY);
        failures.push(Failure {
            task: task.id.clone(),
            spec_version: task.spec_version,
            at,
        });
    }

    /// Recent failures of this version of the task's service on a node, if they are many; else zero.
    pub(super) fn failures(&self, task: &Task, node: &NodeId, now: Timestamp) -> u64 {
        let known = self.failures.get(&(node.clone(), task.service.clone()));
        let recent = known.into_iter().flatten().filter(|failure| {
            failure.spec_version == task.spec_version && now.since(failure.at) <= FAILURE_MEMORY
        });
        let count = u64::try_from(recent.count()).unwrap_or(u64::MAX);
        if count < MANY_FAILURES { 0 } else { count }
    }
}

/// Fixed ports that a task takes on its node.
pub(super) fn host_ports(task: &Task) -> impl Iterator<Item = &PortConfig> {
    let ports = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.filter(|port| port.publish_mode == PublishMode::Host && port.published_port != 0)
}

fn add(sum: &mut Resources, other: Resources) {
    sum.nano_cpus = sum.nano_cpus.saturating_add(other.nano_cpus);
    sum.memory_bytes = sum.memory_bytes.saturating_add(other.memory_bytes);
}

fn subtract(sum: &mut Resources, other: Resources) {
    sum.nano_cpus = sum.nano_cpus.saturating_sub(other.nano_cpus);
    sum.memory_bytes = sum.memory_bytes.saturating_sub(other.memory_bytes);
}
