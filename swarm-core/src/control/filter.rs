//! Lists with Docker's filters: values of one key are alternatives, keys must all match, names and identifiers match by
//! prefix, labels are `key` or `key=value` and must all be there.

use alloc::{format, string::String, vec::Vec};

use super::{Code, ControlError, find_node, find_service};
use crate::{
    model::{Labels, Network, Node, Role, Service, ServiceMode, Task, TaskState},
    orchestrator::is_task_dirty,
    store::Store,
};

/// Filter of services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFilter {
    /// Identifier prefixes.
    pub ids: Vec<String>,
    /// Name prefixes.
    pub names: Vec<String>,
    /// Labels of the service.
    pub labels: Vec<String>,
    /// `replicated` or `global`.
    pub modes: Vec<String>,
}

/// Filter of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Identifier prefixes.
    pub ids: Vec<String>,
    /// Prefixes of the container name `service.slot.id`.
    pub names: Vec<String>,
    /// Labels of the task's service.
    pub labels: Vec<String>,
    /// Names or identifiers of services.
    pub services: Vec<String>,
    /// Names or identifiers of nodes.
    pub nodes: Vec<String>,
    /// Desired states.
    pub desired_states: Vec<TaskState>,
    /// Keep only tasks that are (or are not) as the service wants them now.
    pub up_to_date: Option<bool>,
}

/// Filter of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Identifier prefixes.
    pub ids: Vec<String>,
    /// Hostname prefixes.
    pub names: Vec<String>,
    /// Labels of the agent's configuration (`label` in Docker's filter).
    pub engine_labels: Vec<String>,
    /// Labels set by the operator (`node.label`).
    pub node_labels: Vec<String>,
    /// Roles.
    pub roles: Vec<Role>,
    /// `accepted` or `pending`: every node of ours is accepted.
    pub memberships: Vec<String>,
}

/// Filter of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFilter {
    /// Identifier prefixes.
    pub ids: Vec<String>,
    /// Parts of names (Docker matches networks by substring).
    pub names: Vec<String>,
    /// Labels.
    pub labels: Vec<String>,
    /// Drivers.
    pub drivers: Vec<String>,
}

fn any_prefix(wanted: &[String], text: &str) -> bool {
    wanted.is_empty()
        || wanted
            .iter()
            .any(|prefix| text.starts_with(prefix.as_str()))
}

fn all_labels(wanted: &[String], labels: &Labels) -> bool {
    wanted.iter().all(|label| match label.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(label.as_str()),
    })
}

/// The services that match, by identifier.
pub fn list_services<'a>(store: &'a Store, filter: &ServiceFilter) -> Vec<&'a Service> {
    let matches = |service: &&Service| {
        let mode = match service.spec.mode {
            ServiceMode::Replicated { .. } => "replicated",
            ServiceMode::Global => "global",
        };
        any_prefix(&filter.ids, service.id.as_str())
            && any_prefix(&filter.names, &service.spec.annotations.name)
            && all_labels(&filter.labels, &service.spec.annotations.labels)
            && (filter.modes.is_empty() || filter.modes.iter().any(|wanted| wanted == mode))
    };
    store.services().filter(matches).collect()
}

/// The tasks that match, by identifier; an unknown service or node is an error.
pub fn list_tasks<'a>(
    store: &'a Store,
    filter: &TaskFilter,
) -> Result<Vec<&'a Task>, ControlError> {
    let mut services = Vec::new();
    for given in &filter.services {
        services.push(&find_service(store, given)?.id);
    }
    let mut nodes = Vec::new();
    for given in &filter.nodes {
        nodes.push(&find_node(store, given)?.id);
    }
    let matches = |task: &&Task| {
        any_prefix(&filter.ids, task.id.as_str())
            && any_prefix(&filter.names, &task.container_name())
            && all_labels(&filter.labels, &task.service_annotations.labels)
            && (services.is_empty() || services.contains(&&task.service))
            && (nodes.is_empty() || nodes.contains(&&task.node))
            && (filter.desired_states.is_empty()
                || filter.desired_states.contains(&task.desired_state))
            && filter
                .up_to_date
                .is_none_or(|wanted| up_to_date(store, task) == wanted)
    };
    // The common questions (one service, one node) must not look at every task of the cluster.
    let mut tasks: Vec<&Task> = if !services.is_empty() {
        let of_services = services.iter().flat_map(|id| store.tasks_of_service(id));
        of_services.filter(matches).collect()
    } else if nodes.is_empty() {
        store.tasks().filter(matches).collect()
    } else {
        let of_nodes = nodes.iter().flat_map(|id| store.tasks_of_node(id));
        of_nodes.filter(matches).collect()
    };
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    tasks.dedup_by(|a, b| a.id == b.id);
    Ok(tasks)
}

fn up_to_date(store: &Store, task: &Task) -> bool {
    store
        .service(&task.service)
        .is_some_and(|service| !is_task_dirty(service, task, None))
}

/// The nodes that match, by identifier.
pub fn list_nodes<'a>(store: &'a Store, filter: &NodeFilter) -> Vec<&'a Node> {
    let none = Labels::new();
    let matches = |node: &&Node| {
        let description = node.description.as_ref();
        let hostname = description.map_or("", |description| description.hostname.as_str());
        let engine = description.map_or(&none, |description| &description.engine_labels);
        let accepted = filter.memberships.is_empty()
            || filter.memberships.iter().any(|wanted| wanted == "accepted");
        any_prefix(&filter.ids, node.id.as_str())
            && any_prefix(&filter.names, hostname)
            && all_labels(&filter.engine_labels, engine)
            && all_labels(&filter.node_labels, &node.spec.annotations.labels)
            && (filter.roles.is_empty() || filter.roles.contains(&node.spec.role))
            && accepted
    };
    store.nodes().filter(matches).collect()
}

/// The networks that match, by identifier.
pub fn list_networks<'a>(store: &'a Store, filter: &NetworkFilter) -> Vec<&'a Network> {
    let matches = |network: &&Network| {
        let name = &network.spec.annotations.name;
        any_prefix(&filter.ids, network.id.as_str())
            && (filter.names.is_empty()
                || filter.names.iter().any(|part| name.contains(part.as_str())))
            && all_labels(&filter.labels, &network.spec.annotations.labels)
            && (filter.drivers.is_empty() || filter.drivers.contains(&network.spec.driver))
    };
    store.networks().filter(matches).collect()
}

/// The state a `desired-state` filter names.
pub fn parse_desired_state(text: &str) -> Result<TaskState, ControlError> {
    let lower = text.to_ascii_lowercase();
    TaskState::ALL
        .into_iter()
        .find(|state| state.name() == lower)
        .ok_or_else(|| {
            ControlError::new(
                Code::Unknown,
                format!("Invalid desired-state filter: '{text}'"),
            )
        })
}
