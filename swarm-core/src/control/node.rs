//! Nodes: joining, the operator's wishes, removal.

use alloc::{collections::BTreeSet, format};
use core::net::{IpAddr, SocketAddr};

use super::{Code, ControlError, check_quorum_without, check_version, only_member, validate};
use crate::{
    id::NodeId,
    model::{
        Annotations, Availability, ManagerStatus, Meta, Node, NodeSpec, NodeState, NodeStatus,
        Role, Task, TaskState, Version,
    },
    store::{Object, ObjectId, Store, Transaction},
    time::Timestamp,
};

/// A node that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Common name of its certificate.
    pub id: NodeId,
    /// The role its token stands for.
    pub role: Role,
    /// Wanted availability (`--availability`).
    pub availability: Availability,
    /// The address the request came from, if known.
    pub addr: Option<IpAddr>,
    /// Set when it is a member of Raft already: its number and where others reach it.
    pub manager: Option<(u64, SocketAddr)>,
}

pub(super) fn new_node(new: NewNode) -> Node {
    Node {
        id: new.id,
        meta: Meta::default(),
        spec: NodeSpec {
            annotations: Annotations::default(),
            role: new.role,
            availability: new.availability,
        },
        description: None,
        status: NodeStatus {
            addr: new.addr,
            ..NodeStatus::default()
        },
        manager: new
            .manager
            .map(|(raft_id, addr)| ManagerStatus::new(raft_id, addr)),
        attachment: None,
    }
}

/// Stores a node that got its certificate.
pub fn add_node(store: &Store, new: NewNode, now: Timestamp) -> Result<Transaction, ControlError> {
    if store.node(&new.id).is_some() {
        return Err(ControlError::new(
            Code::AlreadyExists,
            format!("node {} already exists", new.id),
        ));
    }
    Ok(Transaction::new(now).create(Object::Node(new_node(new))))
}

/// Records that a node became (or is no longer) a member of Raft.
pub fn set_manager(
    store: &Store,
    id: &NodeId,
    manager: Option<ManagerStatus>,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    let mut node = current(store, id)?.clone();
    if node.manager == manager {
        return Ok(Transaction::new(now));
    }
    node.manager = manager;
    let version = node.meta.version;
    Ok(Transaction::new(now).put(Object::Node(node), version))
}

/// `swarm init --force-new-cluster`: this node is the only manager from now on. Services, networks, tasks, tokens and the
/// cluster's identifier stay; the other managers become workers, as Raft will never hear of them again.
pub fn force_new_cluster(
    store: &Store,
    id: &NodeId,
    manager: ManagerStatus,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    if store.cluster().is_none() {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            "the state on disk holds no cluster: this manager had not caught up when the others were lost",
        ));
    }
    let own = store.node(id).cloned().unwrap_or_else(|| {
        new_node(NewNode {
            id: id.clone(),
            role: Role::Manager,
            availability: Availability::Active,
            addr: Some(manager.addr.ip()),
            manager: None,
        })
    });
    let others = store.nodes().filter(|node| node.id != *id);
    let managers = others.filter(|node| node.spec.role == Role::Manager || node.manager.is_some());
    let changed = managers
        .map(|node| with_part(node, Role::Worker, None))
        .chain([with_part(&own, Role::Manager, Some(manager))]);
    Ok(changed.fold(Transaction::new(now), |transaction, node| {
        let version = node.meta.version;
        transaction.put(Object::Node(node), version)
    }))
}

/// A node with another part in the management of the cluster.
fn with_part(node: &Node, role: Role, manager: Option<ManagerStatus>) -> Node {
    let mut node = node.clone();
    node.spec.role = role;
    node.manager = manager;
    node
}

/// `node update|promote|demote`: labels, availability and role. `unreachable` are the members of Raft that do not answer
/// the leader right now.
pub fn update_node(
    store: &Store,
    id: &NodeId,
    version: Version,
    spec: NodeSpec,
    unreachable: &BTreeSet<NodeId>,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    let node = current(store, id)?;
    check_version(version, node.meta)?;
    validate::labels(&spec.annotations.labels)?;
    if node.spec.role == Role::Manager && spec.role == Role::Worker {
        check_demotion(store, id, unreachable)?;
    }
    let mut node = node.clone();
    node.spec = spec;
    Ok(Transaction::new(now).put(Object::Node(node), version))
}

/// Refuses to demote the last manager, or one without which the rest would have no quorum. A node that was promoted and
/// is not a member of Raft yet counts for nothing, so its promotion can be taken back at any time.
fn check_demotion(
    store: &Store,
    id: &NodeId,
    unreachable: &BTreeSet<NodeId>,
) -> Result<(), ControlError> {
    let members = store
        .nodes()
        .filter(|node| node.spec.role == Role::Manager && node.manager.is_some());
    let members: BTreeSet<&NodeId> = members.map(|node| &node.id).collect();
    if !members.contains(id) {
        return Ok(());
    }
    if members.len() == 1 {
        return Err(only_member(store));
    }
    let answering = members.iter().copied();
    let answering = answering.filter(|member| !unreachable.contains(*member));
    check_quorum_without(&members, &answering.collect(), &id)
}

/// `node rm`: forgets a node that is down; its unfinished tasks are orphaned. From then on its certificates are worth nothing.
pub fn remove_node(
    store: &Store,
    id: &NodeId,
    force: bool,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    let node = current(store, id)?;
    if node.manager.is_some() || node.spec.role == Role::Manager {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            format!(
                "node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
            ),
        ));
    }
    let gone = match node.status.state {
        NodeState::Down | NodeState::Unknown => true,
        NodeState::Ready | NodeState::Disconnected => false,
    };
    if !gone && !force {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            format!("node {id} is not down and can't be removed"),
        ));
    }
    let mut transaction = without(store, node, now);
    for task in store.tasks_of_node(id) {
        if !task.status.state.is_terminal() {
            let version = task.meta.version;
            transaction = transaction.put(Object::Task(orphaned(task.clone(), now)), version);
        }
    }
    Ok(transaction)
}

/// The removal of a node's object. Its certificates still hold, so the cluster remembers it.
pub(super) fn without(store: &Store, node: &Node, now: Timestamp) -> Transaction {
    let transaction =
        Transaction::new(now).remove(ObjectId::Node(node.id.clone()), node.meta.version);
    let Some(cluster) = store.cluster() else {
        return transaction; // nobody but a cluster issues certificates
    };
    let (mut cluster, version) = (cluster.clone(), cluster.meta.version);
    let lifetime = cluster.spec.node_cert_expiry;
    cluster.removed.add(node.id.clone(), lifetime, now);
    transaction.put(Object::Cluster(cluster), version)
}

fn orphaned(mut task: Task, now: Timestamp) -> Task {
    task.status.timestamp = now;
    task.status.state = TaskState::Orphaned;
    "Task belonged to a node that has been deleted".clone_into(&mut task.status.message);
    task
}

pub(super) fn current<'a>(store: &'a Store, id: &NodeId) -> Result<&'a Node, ControlError> {
    store
        .node(id)
        .ok_or_else(|| ControlError::new(Code::NotFound, format!("node {id} not found")))
}

use alloc::borrow::ToOwned as _;
