//! Changes that are not committed yet, laid over the store: the phases of one leader step read what the earlier phases
//! decided, and the result becomes one transaction whose every write names the version that was seen.

use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::net::Ipv4Addr;

use super::{Change, Object, ObjectId, Store, Tables, Transaction, check_references};
use crate::{
    control::ControlError,
    id::{NetworkId, NodeId, ServiceId, TaskId},
    model::{
        Cluster, Network, Node, Protocol, Service, ServiceSpec, Task, TaskSpec, TaskState, Version,
    },
    time::Timestamp,
};

/// Objects that one transaction may touch, so that no Raft entry grows with the cluster.
const MAX_OBJECTS: usize = 1000;
/// Bytes of task specifications that one transaction may carry: each task has a copy of its service's, and an entry must
/// fit into one message between managers.
const MAX_SPEC_BYTES: usize = 4 * 1024 * 1024;

/// A store with changes laid over it.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    base: &'a Store,
    over: Tables,
    removed_tasks: BTreeSet<TaskId>,
    /// About how many bytes the specifications of the tasks in `over` have.
    spec_bytes: usize,
    now: Timestamp,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a Store, now: Timestamp) -> Self {
        Self {
            base,
            over: Tables::default(),
            removed_tasks: BTreeSet::new(),
            spec_bytes: 0,
            now,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the rest has to wait for the next transaction.
    pub(crate) fn is_full(&self) -> bool {
        let over = &self.over;
        let touched = over.nodes.len()
            + over.services.len()
            + over.tasks.len()
            + over.networks.len()
            + self.removed_tasks.len();
        touched >= MAX_OBJECTS || self.spec_bytes >= MAX_SPEC_BYTES
    }

    /// Whether a task may be changed: there is room, or it is touched already.
    pub(crate) fn may_touch(&self, id: &TaskId) -> bool {
        self.over.tasks.contains_key(id) || !self.is_full()
    }

    /// Tasks that the draft changes or adds.
    pub(crate) fn touched_tasks(&self) -> impl Iterator<Item = &Task> {
        self.over.tasks.values()
    }

    /// Tasks of the draft that have no addresses yet.
    pub(crate) fn new_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.waiting_in(TaskState::New)
    }

    /// Tasks of the draft that have no node yet.
    pub(crate) fn pending_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.waiting_in(TaskState::Pending)
    }

    fn waiting_in(&self, state: TaskState) -> impl Iterator<Item = TaskId> {
        let tasks = self.over.tasks.values();
        tasks
            .filter(move |task| task.status.state == state && task.is_wanted())
            .map(|task| task.id.clone())
    }

    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.over.cluster.as_ref().or_else(|| self.base.cluster())
    }

    pub(crate) fn node(&self, id: &NodeId) -> Option<&Node> {
        self.over.nodes.get(id).or_else(|| self.base.node(id))
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.base
            .nodes()
            .map(|node| self.over.nodes.get(&node.id).unwrap_or(node))
    }

    pub(crate) fn service(&self, id: &ServiceId) -> Option<&Service> {
        self.over.services.get(id).or_else(|| self.base.service(id))
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.base
            .services()
            .map(|service| self.over.services.get(&service.id).unwrap_or(service))
    }

    /// Whether a service may have this specification: judged by what is stored, as it is when the transaction is applied, and
    /// by what the draft makes of it.
    pub(crate) fn check_references(
        &self,
        spec: &ServiceSpec,
        own: &ServiceId,
    ) -> Result<(), ControlError> {
        check_references(self.base, spec, Some(own))?;
        check_references(self, spec, Some(own))
    }

    pub(crate) fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.over.networks.get(id).or_else(|| self.base.network(id))
    }

    pub(crate) fn networks(&self) -> impl Iterator<Item = &Network> {
        self.base
            .networks()
            .map(|network| self.over.networks.get(&network.id).unwrap_or(network))
    }

    pub(crate) fn ingress_network(&self) -> Option<&Network> {
        self.networks().find(|network| network.spec.ingress)
    }

    pub(crate) fn task(&self, id: &TaskId) -> Option<&Task> {
        if self.removed_tasks.contains(id) {
            return None;
        }
        self.over.tasks.get(id).or_else(|| self.base.task(id))
    }

    /// Tasks of a service: first the stored ones that are untouched, then those of the draft.
    pub(crate) fn tasks_of_service(&self, id: &ServiceId) -> impl Iterator<Item = &Task> {
        let stored = self.base.tasks_of_service(id);
        let drafted = self.over.task_ids_of_service(id);
        stored
            .filter(|task| self.untouched(&task.id))
            .chain(drafted.filter_map(|id| self.over.tasks.get(id)))
    }

    fn untouched(&self, id: &TaskId) -> bool {
        !self.removed_tasks.contains(id) && !self.over.tasks.contains_key(id)
    }

    /// Whether an address is held by anything, the draft's changes included.
    pub(crate) fn address_taken(&self, network: &NetworkId, address: Ipv4Addr) -> bool {
        if self.over.holder(network, address).is_some() {
            return true;
        }
        self.base
            .tables()
            .holder(network, address)
            .is_some_and(|holder| !self.touches(holder))
    }

    /// Whether a VNI is held by a network.
    pub(crate) fn vni_taken(&self, vni: u32) -> bool {
        let stored = self.base.tables().vni_holder(vni);
        self.over.vni_holder(vni).is_some()
            || stored.is_some_and(|holder| !self.over.networks.contains_key(holder))
    }

    /// Whether a port of the mesh is held by a service other than `but`.
    pub(crate) fn port_taken(&self, protocol: Protocol, port: u16, but: &ServiceId) -> bool {
        let drafted = self.over.port_holder(protocol, port);
        let stored = self.base.tables().port_holder(protocol, port);
        drafted.is_some_and(|holder| holder != but)
            || stored
                .is_some_and(|holder| holder != but && !self.over.services.contains_key(holder))
    }

    fn touches(&self, id: &ObjectId) -> bool {
        match id {
            ObjectId::Cluster(_) => self.over.cluster.is_some(),
            ObjectId::Node(id) => self.over.nodes.contains_key(id),
            ObjectId::Service(id) => self.over.services.contains_key(id),
            ObjectId::Task(id) => !self.untouched(id),
            ObjectId::Network(id) => self.over.networks.contains_key(id),
        }
    }

    pub(crate) fn put_cluster(&mut self, cluster: Cluster) {
        self.over.insert(Object::Cluster(cluster));
    }

    pub(crate) fn put_node(&mut self, node: Node) {
        self.over.insert(Object::Node(node));
    }

    pub(crate) fn put_service(&mut self, service: Service) {
        self.over.insert(Object::Service(service));
    }

    pub(crate) fn put_network(&mut self, network: Network) {
        self.over.insert(Object::Network(network));
    }

    /// Stores a task; a new one gets its creation time now, as later phases of the step look at it.
    pub(crate) fn put_task(&mut self, mut task: Task) {
        if task.meta.version == Version(0) {
            task.meta.created_at = self.now;
        }
        if !self.over.tasks.contains_key(&task.id) {
            self.spec_bytes = self.spec_bytes.saturating_add(text_bytes(&task.spec));
        }
        self.over.insert(Object::Task(task));
    }

    /// Changes a task that is there.
    pub(crate) fn edit_task(&mut self, id: &TaskId, edit: impl FnOnce(&mut Task)) {
        if let Some(mut task) = self.task(id).cloned() {
            edit(&mut task);
            self.put_task(task);
        }
    }

    pub(crate) fn remove_task(&mut self, id: &TaskId) {
        self.over.remove(&ObjectId::Task(id.clone()));
        self.removed_tasks.insert(id.clone());
    }

    /// The transaction that makes the draft real; empty if it equals what is stored.
    pub(crate) fn into_transaction(self) -> Transaction {
        let mut changes = Vec::new();
        for id in self.removed_tasks {
            if let Some(task) = self.base.task(&id) {
                changes.push(Change::Remove {
                    id: ObjectId::Task(id),
                    expect: Some(task.meta.version),
                });
            }
        }
        let over = self.over;
        let objects = over
            .cluster
            .into_iter()
            .map(Object::Cluster)
            .chain(over.networks.into_values().map(Object::Network))
            .chain(over.nodes.into_values().map(Object::Node))
            .chain(over.services.into_values().map(Object::Service))
            .chain(over.tasks.into_values().map(Object::Task));
        for object in objects {
            let stored = self.base.get(&object.id());
            if stored.as_ref() != Some(&object) {
                let expect = stored.map(|stored| stored.meta().version);
                changes.push(Change::Put {
                    object,
                    expect: Some(expect.unwrap_or_default()),
                });
            }
        }
        Transaction {
            now: self.now,
            changes,
        }
    }
}

/// Bytes of the texts of a specification: what makes one large.
fn text_bytes(spec: &TaskSpec) -> usize {
    let container = &spec.container;
    let lists = [
        &container.command,
        &container.args,
        &container.env,
        &container.groups,
        &container.hosts,
        &container.capability_add,
        &container.capability_drop,
        &spec.placement.constraints,
    ];
    let listed = lists.into_iter().flatten().map(String::len);
    let mapped = container.labels.iter().chain(&container.sysctls);
    let mounted = container.mounts.iter().map(|mount| mount.target.len());
    let single = [
        container.image.len(),
        container.registry_auth.len(),
        container.dir.len(),
        container.user.len(),
    ];
    listed
        .chain(mapped.map(|(key, value)| key.len().saturating_add(value.len())))
        .chain(mounted)
        .chain(single)
        .fold(0, usize::saturating_add)
}
