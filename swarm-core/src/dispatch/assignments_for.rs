//! The assignment set of a node from the store: its tasks, and of the cluster what those tasks can reach. The mesh's
//! network is everywhere; any other network only where a task needs it.

use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::net::Ipv4Addr;

use super::{Assignment, Assignments, EndpointInfo, Peer, ServiceInfo, key_of};
use crate::{
    id::{NetworkId, NodeId},
    model::{EndpointMode, Network, Node, NodeState, Service, Task, TaskState},
    store::{ObjectId, Store, Touched},
};

/// Everything the node's agent needs.
pub fn assignments_for(store: &Store, id: &NodeId) -> Assignments {
    let Some(node) = store.node(id) else {
        return Assignments::new();
    };
    let mut set = Assignments::new();
    let mut add = |item: Assignment| drop(set.insert(key_of(&item), item));
    let placed = store
        .tasks_of_node(id)
        .filter(|task| task.status.state >= TaskState::Assigned);
    for task in placed {
        add(Assignment::Task(task.clone()));
    }
    let networks = carried(store, id);
    for network in &networks {
        add(Assignment::Network((*network).clone()));
        for endpoint in endpoints(store, network) {
            add(Assignment::Endpoint(endpoint));
        }
    }
    for service in services(store, &networks) {
        add(Assignment::Service(service));
    }
    for peer in peers(store, node) {
        add(Assignment::Peer(peer));
    }
    if let Some(attachment) = &node.attachment {
        add(Assignment::IngressAddress(attachment.clone()));
    }
    set
}

/// Networks that must work on the node.
fn carried<'a>(store: &'a Store, node: &NodeId) -> Vec<&'a Network> {
    let mut ids: BTreeSet<&NetworkId> = BTreeSet::new();
    ids.extend(store.ingress_network().map(|ingress| &ingress.id));
    for task in store.tasks_of_node(node).filter(|task| is_live(task)) {
        ids.extend(
            task.attachments
                .iter()
                .map(|attachment| &attachment.network),
        );
    }
    let networks = ids.into_iter().filter_map(|id| store.network(id));
    networks
        .filter(|network| network.allocation.is_some())
        .collect()
}

fn is_live(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && !task.status.state.is_terminal()
}

fn endpoints(store: &Store, network: &Network) -> Vec<EndpointInfo> {
    let holders = store.address_holders(&network.id);
    holders
        .filter_map(|(address, holder)| endpoint(store, network, address, holder))
        .collect()
}

fn endpoint(
    store: &Store,
    network: &Network,
    address: Ipv4Addr,
    holder: &ObjectId,
) -> Option<EndpointInfo> {
    match holder {
        ObjectId::Task(id) => {
            let task = store.task(id).filter(|task| is_live(task))?;
            store.node(&task.node).filter(|node| is_reachable(node))?;
            Some(task_endpoint(task, network, address))
        }
        ObjectId::Node(id) => {
            store.node(id).filter(|node| is_reachable(node))?;
            Some(EndpointInfo {
                network: network.id.clone(),
                address,
                node: id.clone(),
                task: None,
                service: None,
                names: Vec::new(),
                serving: false,
                draining: false,
            })
        }
        ObjectId::Cluster(_) | ObjectId::Service(_) | ObjectId::Network(_) => None,
    }
}

fn is_reachable(node: &Node) -> bool {
    node.status.state != NodeState::Down
}

fn task_endpoint(task: &Task, network: &Network, address: Ipv4Addr) -> EndpointInfo {
    let mut names: Vec<String> = Vec::new();
    names.push(task.container_name());
    let hostname = &task.spec.container.hostname;
    if !hostname.is_empty() {
        names.push(hostname.clone());
    }
    let serving = task.status.state == TaskState::Running;
    let draining = task.draining || !task.is_wanted();
    let mode = task.endpoint.as_ref().map(|endpoint| endpoint.spec.mode);
    if mode == Some(EndpointMode::DnsRoundRobin) && serving && !draining {
        // Without a virtual address the aliases of the service stand for its tasks.
        let mut attachments = task.attachments.iter();
        let here = attachments.find(|found| found.network == network.id);
        names.extend(
            here.into_iter()
                .flat_map(|found| found.aliases.iter().cloned()),
        );
    }
    EndpointInfo {
        network: network.id.clone(),
        address,
        node: task.node.clone(),
        task: Some(task.id.clone()),
        service: Some(task.service.clone()),
        names,
        serving,
        draining,
    }
}

/// Services that are met on these networks by name or virtual address, and all published ones.
fn services(store: &Store, networks: &[&Network]) -> Vec<ServiceInfo> {
    let on_networks = networks
        .iter()
        .flat_map(|network| store.services_of_network(&network.id));
    let known = |attachment: &crate::model::Attachment| {
        networks
            .iter()
            .any(|network| network.id == attachment.network)
    };
    let published = store.published_services();
    on_networks
        .chain(published)
        .map(|service| info(service, known))
        .collect()
}

fn info(service: &Service, known: impl Fn(&crate::model::Attachment) -> bool) -> ServiceInfo {
    let endpoint = service.endpoint.clone().unwrap_or_default();
    let attached = endpoint.virtual_ips.into_iter().filter(known);
    ServiceInfo {
        id: service.id.clone(),
        name: service.spec.annotations.name.clone(),
        mode: endpoint.spec.mode,
        virtual_ips: attached.collect(),
        ports: endpoint.ports,
    }
}

fn peers(store: &Store, own: &Node) -> Vec<Peer> {
    let others = store
        .nodes()
        .filter(|node| node.id != own.id && is_reachable(node));
    let peers = others.filter_map(|node| {
        let description = node.description.as_ref();
        Some(Peer {
            node: node.id.clone(),
            hostname: description
                .map(|found| found.hostname.clone())
                .unwrap_or_default(),
            data_path_addr: node.status.data_path_addr?,
        })
    });
    peers.collect()
}

/// Nodes with a task on the network.
fn carriers(store: &Store, network: &NetworkId) -> impl Iterator<Item = NodeId> {
    let holders = store.address_holders(network);
    holders.filter_map(|(_address, holder)| match holder {
        ObjectId::Task(id) => store.task(id).map(|task| task.node.clone()),
        ObjectId::Node(id) => Some(id.clone()),
        ObjectId::Cluster(_) | ObjectId::Service(_) | ObjectId::Network(_) => None,
    })
}

/// Which nodes a change may concern: their assignments, or what else their managers tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Affected {
    /// Potentially all.
    All,
    /// These at most.
    Nodes(BTreeSet<NodeId>),
}

/// Which nodes have to be looked at again after these changes. A task without attachments concerns its own node
/// only; one on networks concerns the nodes that carry them.
pub(crate) fn affected_nodes<'c>(
    store: &Store,
    changes: impl Iterator<Item = &'c Touched>,
) -> Affected {
    let mut nodes = BTreeSet::new();
    for touched in changes {
        match &touched.id {
            // The cluster object is in no assignment, but roots and settings are told to all.
            ObjectId::Cluster(_)
            | ObjectId::Node(_)
            | ObjectId::Service(_)
            | ObjectId::Network(_) => return Affected::All,
            ObjectId::Task(id) => {
                let Some(node) = &touched.node else { continue };
                nodes.insert(node.clone());
                let Some(task) = store.task(id) else {
                    return Affected::All;
                };
                for attachment in &task.attachments {
                    let network = store.network(&attachment.network);
                    if network.is_none_or(|network| network.spec.ingress) {
                        return Affected::All;
                    }
                    nodes.extend(carriers(store, &attachment.network));
                }
            }
        }
    }
    Affected::Nodes(nodes)
}
