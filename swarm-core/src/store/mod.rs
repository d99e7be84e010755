//! The replicated state as a reducer: (state, transaction) -> (state, events). Applying is deterministic and all or
//! nothing; the version of an object is the Raft index of its last write. The serialised form is the Raft snapshot:
//! objects only, indexes are rebuilt on load.

mod change;
mod draft;
mod index;
mod references;
mod table;

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::net::Ipv4Addr;

pub use change::{Change, Event, Kind, Object, ObjectId, StoreError, Transaction};
pub(crate) use draft::Draft;
pub(crate) use index::Tables;
pub(crate) use references::{check_references, check_unused};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    id::{NetworkId, NodeId, ServiceId, TaskId},
    model::{Cluster, Meta, Network, Node, Protocol, Service, Task, Version},
};

/// How many recent changes are remembered for [`Store::changes_since`].
const RECENT_CHANGES: usize = 65_536;

/// A change that was applied, without the object: enough to know what has to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Raft index of the change.
    pub index: u64,
    /// The object.
    pub id: ObjectId,
    /// Of a task: its service.
    pub service: Option<ServiceId>,
    /// Of a task: its node, if placed.
    pub node: Option<NodeId>,
}

/// The replicated state. Cloning shares the objects: a snapshot is built from a clone while changes go on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Snapshot")]
pub struct Store {
    index: u64,
    tables: Tables,
    recent: VecDeque<Touched>,
    /// Changes up to this index are no longer in `recent`.
    forgotten: u64,
}

/// The serialised form.
#[derive(Deserialize)]
struct Snapshot {
    index: u64,
    cluster: Option<Cluster>,
    nodes: Vec<Node>,
    services: Vec<Service>,
    tasks: Vec<Task>,
    networks: Vec<Network>,
}

/// The serialised form, borrowed.
#[derive(Serialize)]
struct SnapshotRef<'a> {
    index: u64,
    cluster: Option<&'a Cluster>,
    nodes: Vec<&'a Node>,
    services: Vec<&'a Service>,
    tasks: Vec<&'a Task>,
    networks: Vec<&'a Network>,
}

impl Serialize for Store {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let snapshot = SnapshotRef {
            index: self.index,
            cluster: self.tables.cluster.as_ref(),
            nodes: self.tables.nodes.values().collect(),
            services: self.tables.services.values().collect(),
            tasks: self.tables.tasks.values().collect(),
            networks: self.tables.networks.values().collect(),
        };
        snapshot.serialize(serializer)
    }
}

impl From<Snapshot> for Store {
    fn from(snapshot: Snapshot) -> Self {
        let mut tables = Tables::default();
        let cluster = snapshot.cluster.into_iter().map(Object::Cluster);
        let nodes = snapshot.nodes.into_iter().map(Object::Node);
        let services = snapshot.services.into_iter().map(Object::Service);
        let tasks = snapshot.tasks.into_iter().map(Object::Task);
        let networks = snapshot.networks.into_iter().map(Object::Network);
        for object in cluster
            .chain(nodes)
            .chain(services)
            .chain(tasks)
            .chain(networks)
        {
            tables.insert(object);
        }
        Self {
            index: snapshot.index,
            tables,
            recent: VecDeque::new(),
            forgotten: snapshot.index,
        }
    }
}

impl PartialEq for Store {
    /// Equal state; how it came about (recent changes) does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.tables == other.tables
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that reflects the entry `index` and is filled with [`Store::restore`]: one object of a snapshot at a time,
    /// so that the snapshot's whole form is never in memory beside the store.
    pub fn at_index(index: u64) -> Self {
        Self {
            index,
            forgotten: index,
            ..Self::default()
        }
    }

    /// Puts an object of a snapshot in, with the version it has.
    pub fn restore(&mut self, object: Object) {
        self.tables.insert(object);
    }

    /// Copies of all objects, one at a time: what a snapshot consists of.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        let cluster = self.cluster().cloned().map(Object::Cluster);
        let nodes = self.nodes().cloned().map(Object::Node);
        let services = self.services().cloned().map(Object::Service);
        let tasks = self.tasks().cloned().map(Object::Task);
        let networks = self.networks().cloned().map(Object::Network);
        cluster
            .into_iter()
            .chain(nodes)
            .chain(services)
            .chain(tasks)
            .chain(networks)
    }

    /// Applies the transaction of the Raft entry `index`, all or nothing.
    pub fn apply(
        &mut self,
        index: u64,
        transaction: Transaction,
    ) -> Result<Vec<Event>, StoreError> {
        self.index = index;
        self.check(index, &transaction)?;
        let mut events = Vec::with_capacity(transaction.changes.len());
        for change in transaction.changes {
            let event = match change {
                Change::Put { object, .. } => Some(self.put(index, transaction.now, object)),
                Change::Remove { id, .. } => self.tables.remove(&id).map(Event::Removed),
            };
            events.extend(event);
        }
        for event in &events {
            self.remember(index, event);
        }
        Ok(events)
    }

    fn put(&mut self, index: u64, now: crate::time::Timestamp, mut object: Object) -> Event {
        let old = self.tables.get(&object.id());
        let created_at = old.as_ref().map_or(now, |old| old.meta().created_at);
        *object.meta_mut() = Meta {
            version: Version(index),
            created_at,
            updated_at: now,
        };
        self.tables.insert(object.clone());
        match old {
            Some(old) => Event::Updated { old, new: object },
            None => Event::Created(object),
        }
    }

    /// Checks every expectation and name, taking the transaction's own earlier changes into account; networks and ports that
    /// services need are looked up in the store as it was before the transaction.
    fn check(&self, index: u64, transaction: &Transaction) -> Result<(), StoreError> {
        let mut seen: BTreeMap<ObjectId, Version> = BTreeMap::new();
        for change in &transaction.changes {
            let (id, expect, after) = match change {
                Change::Put { object, expect } => {
                    self.check_name(object, &seen)?;
                    references::check_put(self, object)?;
                    (object.id(), *expect, Version(index))
                }
                Change::Remove { id, expect } => {
                    references::check_remove(self, id)?;
                    (id.clone(), *expect, Version(0))
                }
            };
            let found = seen
                .get(&id)
                .copied()
                .unwrap_or_else(|| self.version(&id).unwrap_or_default());
            if let Some(expected) = expect
                && expected != found
            {
                return Err(StoreError::Stale {
                    id,
                    expected,
                    found,
                });
            }
            seen.insert(id, after);
        }
        references::check_managers(self, transaction)
    }

    /// Names of services and networks are unique; there is one cluster.
    fn check_name(
        &self,
        object: &Object,
        seen: &BTreeMap<ObjectId, Version>,
    ) -> Result<(), StoreError> {
        let (kind, name, holder) = match object {
            Object::Service(service) => {
                let name = &service.spec.annotations.name;
                let holder = self.tables.service_by_name(name);
                (
                    Kind::Service,
                    name,
                    holder.map(|holder| ObjectId::Service(holder.id.clone())),
                )
            }
            Object::Network(network) => {
                let name = &network.spec.annotations.name;
                let holder = self.tables.network_by_name(name);
                (
                    Kind::Network,
                    name,
                    holder.map(|holder| ObjectId::Network(holder.id.clone())),
                )
            }
            Object::Cluster(cluster) => {
                return match &self.tables.cluster {
                    Some(found) if found.id != cluster.id => Err(StoreError::SecondCluster {
                        found: found.id.clone(),
                    }),
                    Some(_) | None => Ok(()),
                };
            }
            Object::Node(_) | Object::Task(_) => return Ok(()),
        };
        match holder {
            Some(holder) if holder != object.id() && seen.get(&holder) != Some(&Version(0)) => {
                Err(StoreError::NameTaken {
                    kind,
                    name: name.clone(),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn remember(&mut self, index: u64, event: &Event) {
        let object = match event {
            Event::Created(object)
            | Event::Updated { new: object, .. }
            | Event::Removed(object) => object,
        };
        let (service, node) = match object {
            Object::Task(task) => (
                Some(task.service.clone()),
                Some(task.node.clone()).filter(|node| !node.is_empty()),
            ),
            Object::Cluster(_) | Object::Node(_) | Object::Service(_) | Object::Network(_) => {
                (None, None)
            }
        };
        self.recent.push_back(Touched {
            index,
            id: object.id(),
            service,
            node,
        });
        while self.recent.len() > RECENT_CHANGES {
            if let Some(oldest) = self.recent.pop_front() {
                self.forgotten = oldest.index;
            }
        }
    }

    /// What was touched after the entry `index`; `None` if that is too long ago, so that everything must be looked at.
    pub fn changes_since(&self, index: u64) -> Option<impl Iterator<Item = &Touched>> {
        let newer = self
            .recent
            .partition_point(|touched| touched.index <= index);
        (index >= self.forgotten).then(|| self.recent.range(newer..))
    }

    /// Index of the last Raft entry that was applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The version of an object, if it is there.
    pub fn version(&self, id: &ObjectId) -> Option<Version> {
        let meta = match id {
            ObjectId::Cluster(id) => self.cluster().filter(|cluster| cluster.id == *id)?.meta,
            ObjectId::Node(id) => self.node(id)?.meta,
            ObjectId::Service(id) => self.service(id)?.meta,
            ObjectId::Task(id) => self.task(id)?.meta,
            ObjectId::Network(id) => self.network(id)?.meta,
        };
        Some(meta.version)
    }

    /// A copy of an object of any kind.
    pub fn get(&self, id: &ObjectId) -> Option<Object> {
        self.tables.get(id)
    }

    /// The cluster, once there is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.tables.cluster.as_ref()
    }

    /// A node.
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.tables.nodes.get(id)
    }

    /// All nodes by identifier.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.tables.nodes.values()
    }

    /// A service.
    pub fn service(&self, id: &ServiceId) -> Option<&Service> {
        self.tables.services.get(id)
    }

    /// The service with exactly this name.
    pub fn service_by_name(&self, name: &str) -> Option<&Service> {
        self.tables.service_by_name(name)
    }

    /// All services by identifier.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.tables.services.values()
    }

    /// Services whose specification names the network.
    pub fn services_of_network(&self, id: &NetworkId) -> impl Iterator<Item = &Service> {
        self.tables.services_of_network(id)
    }

    /// Services that publish ports through the mesh.
    pub fn published_services(&self) -> impl Iterator<Item = &Service> {
        let ids = self.tables.published_services();
        ids.into_iter()
            .filter_map(|id| self.tables.services.get(id))
    }

    /// A task.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tables.tasks.get(id)
    }

    /// All tasks by identifier.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tables.tasks.values()
    }

    /// The tasks of a service, dead ones included.
    pub fn tasks_of_service(&self, id: &ServiceId) -> impl Iterator<Item = &Task> {
        let ids = self.tables.task_ids_of_service(id);
        ids.filter_map(|id| self.tables.tasks.get(id))
    }

    /// The tasks placed on a node, dead ones included.
    pub fn tasks_of_node(&self, id: &NodeId) -> impl Iterator<Item = &Task> {
        let ids = self.tables.task_ids_of_node(id);
        ids.filter_map(|id| self.tables.tasks.get(id))
    }

    /// Services that have tasks, whether or not the service itself is still there.
    pub(crate) fn services_with_tasks(&self) -> impl Iterator<Item = &ServiceId> {
        self.tables.services_with_tasks()
    }

    /// A network.
    pub fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.tables.networks.get(id)
    }

    /// The network with exactly this name.
    pub fn network_by_name(&self, name: &str) -> Option<&Network> {
        self.tables.network_by_name(name)
    }

    /// All networks by identifier.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.tables.networks.values()
    }

    /// The routing mesh's network.
    pub fn ingress_network(&self) -> Option<&Network> {
        self.networks().find(|network| network.spec.ingress)
    }

    /// Held addresses of a network with their holders (live tasks, services' virtual addresses, nodes).
    pub fn address_holders(
        &self,
        network: &NetworkId,
    ) -> impl Iterator<Item = (Ipv4Addr, &ObjectId)> {
        self.tables.holders(network)
    }

    /// The service that holds a port of the mesh.
    pub fn port_holder(&self, protocol: Protocol, port: u16) -> Option<&Service> {
        let id = self.tables.port_holder(protocol, port)?;
        self.service(id)
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }
}

#[cfg(test)]
mod tests;
