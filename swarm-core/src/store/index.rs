//! The tables of objects and the secondary indexes over them. Inserting and removing keep the indexes in step; nothing
//! else may touch them. The address, VNI and port indexes *are* the allocator's view of what is taken, so an address is
//! free exactly when the last live holder of it is gone.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
};
use core::{net::Ipv4Addr, ops::Bound};

use super::{Object, ObjectId, table::Table};
use crate::{
    id::{NetworkId, NodeId, ServiceId, TaskId},
    model::{Cluster, Network, Node, Protocol, PublishMode, Service, Task},
};

/// All objects with their indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) cluster: Option<Cluster>,
    pub(crate) nodes: Table<NodeId, Node>,
    pub(crate) services: Table<ServiceId, Service>,
    pub(crate) tasks: Table<TaskId, Task>,
    pub(crate) networks: Table<NetworkId, Network>,
    indexes: Indexes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Indexes {
    tasks_by_service: BTreeMap<ServiceId, BTreeSet<TaskId>>,
    tasks_by_node: BTreeMap<NodeId, BTreeSet<TaskId>>,
    services_by_name: BTreeMap<String, ServiceId>,
    services_by_network: BTreeMap<NetworkId, BTreeSet<ServiceId>>,
    networks_by_name: BTreeMap<String, NetworkId>,
    addresses: BTreeMap<(NetworkId, Ipv4Addr), ObjectId>,
    vnis: BTreeMap<u32, NetworkId>,
    ports: BTreeMap<(Protocol, u16), ServiceId>,
}

impl Tables {
    /// Stores an object and returns what it replaces.
    pub(crate) fn insert(&mut self, object: Object) -> Option<Object> {
        let old = self.remove(&object.id());
        self.indexes.add(&object);
        match object {
            Object::Cluster(object) => self.cluster = Some(object),
            Object::Node(object) => self.nodes.insert(object.id.clone(), object),
            Object::Service(object) => self.services.insert(object.id.clone(), object),
            Object::Task(object) => self.tasks.insert(object.id.clone(), object),
            Object::Network(object) => self.networks.insert(object.id.clone(), object),
        }
        old
    }

    /// Forgets an object and returns it.
    pub(crate) fn remove(&mut self, id: &ObjectId) -> Option<Object> {
        let old = match id {
            ObjectId::Cluster(id) => self
                .cluster
                .take_if(|cluster| cluster.id == *id)
                .map(Object::Cluster),
            ObjectId::Node(id) => self.nodes.remove(id).map(Object::Node),
            ObjectId::Service(id) => self.services.remove(id).map(Object::Service),
            ObjectId::Task(id) => self.tasks.remove(id).map(Object::Task),
            ObjectId::Network(id) => self.networks.remove(id).map(Object::Network),
        };
        if let Some(old) = &old {
            self.indexes.remove(old);
        }
        old
    }

    pub(crate) fn get(&self, id: &ObjectId) -> Option<Object> {
        match id {
            ObjectId::Cluster(id) => self
                .cluster
                .as_ref()
                .filter(|cluster| cluster.id == *id)
                .cloned()
                .map(Object::Cluster),
            ObjectId::Node(id) => self.nodes.get(id).cloned().map(Object::Node),
            ObjectId::Service(id) => self.services.get(id).cloned().map(Object::Service),
            ObjectId::Task(id) => self.tasks.get(id).cloned().map(Object::Task),
            ObjectId::Network(id) => self.networks.get(id).cloned().map(Object::Network),
        }
    }

    pub(crate) fn task_ids_of_service(&self, id: &ServiceId) -> impl Iterator<Item = &TaskId> {
        self.indexes.tasks_by_service.get(id).into_iter().flatten()
    }

    pub(crate) fn task_ids_of_node(&self, id: &NodeId) -> impl Iterator<Item = &TaskId> {
        self.indexes.tasks_by_node.get(id).into_iter().flatten()
    }

    pub(crate) fn services_with_tasks(&self) -> impl Iterator<Item = &ServiceId> {
        self.indexes.tasks_by_service.keys()
    }

    pub(crate) fn service_by_name(&self, name: &str) -> Option<&Service> {
        let id = self.indexes.services_by_name.get(name)?;
        self.services.get(id)
    }

    pub(crate) fn services_of_network(&self, id: &NetworkId) -> impl Iterator<Item = &Service> {
        let ids = self.indexes.services_by_network.get(id);
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.services.get(id))
    }

    pub(crate) fn network_by_name(&self, name: &str) -> Option<&Network> {
        let id = self.indexes.networks_by_name.get(name)?;
        self.networks.get(id)
    }

    /// Who holds an address now.
    pub(crate) fn holder(&self, network: &NetworkId, address: Ipv4Addr) -> Option<&ObjectId> {
        self.indexes.addresses.get(&(network.clone(), address))
    }

    /// All addresses of a network that are held, with their holders, in address order.
    pub(crate) fn holders(
        &self,
        network: &NetworkId,
    ) -> impl Iterator<Item = (Ipv4Addr, &ObjectId)> {
        let from = Bound::Included((network.clone(), Ipv4Addr::UNSPECIFIED));
        let to = Bound::Included((network.clone(), Ipv4Addr::BROADCAST));
        let range = self.indexes.addresses.range((from, to));
        range.map(|((_, address), holder)| (*address, holder))
    }

    pub(crate) fn vni_holder(&self, vni: u32) -> Option<&NetworkId> {
        self.indexes.vnis.get(&vni)
    }

    pub(crate) fn port_holder(&self, protocol: Protocol, port: u16) -> Option<&ServiceId> {
        self.indexes.ports.get(&(protocol, port))
    }

    /// Services that publish at least one port through the mesh.
    pub(crate) fn published_services(&self) -> BTreeSet<&ServiceId> {
        self.indexes.ports.values().collect()
    }
}

impl Indexes {
    fn add(&mut self, object: &Object) {
        match object {
            Object::Cluster(_) => {}
            Object::Node(node) => self.add_addresses(object, node.attachment.as_slice()),
            Object::Service(service) => self.add_service(object, service),
            Object::Task(task) => self.add_task(object, task),
            Object::Network(network) => self.add_network(network),
        }
    }

    fn remove(&mut self, object: &Object) {
        match object {
            Object::Cluster(_) => {}
            Object::Node(node) => self.remove_addresses(object, node.attachment.as_slice()),
            Object::Service(service) => self.remove_service(object, service),
            Object::Task(task) => self.remove_task(object, task),
            Object::Network(network) => self.remove_network(network),
        }
    }

    fn add_service(&mut self, object: &Object, service: &Service) {
        let name = service.spec.annotations.name.clone();
        self.services_by_name.insert(name, service.id.clone());
        for attachment in &service.spec.task.networks {
            let set = self.services_by_network.entry(attachment.network.clone());
            set.or_default().insert(service.id.clone());
        }
        let Some(endpoint) = &service.endpoint else {
            return;
        };
        self.add_addresses(object, &endpoint.virtual_ips);
        for port in &endpoint.ports {
            if port.publish_mode == PublishMode::Ingress {
                self.ports
                    .insert((port.protocol, port.published_port), service.id.clone());
            }
        }
    }

    fn remove_service(&mut self, object: &Object, service: &Service) {
        let name = service.spec.annotations.name.as_str();
        if self.services_by_name.get(name) == Some(&service.id) {
            self.services_by_name.remove(name);
        }
        for attachment in &service.spec.task.networks {
            drop_member(
                &mut self.services_by_network,
                &attachment.network,
                &service.id,
            );
        }
        let Some(endpoint) = &service.endpoint else {
            return;
        };
        self.remove_addresses(object, &endpoint.virtual_ips);
        for port in &endpoint.ports {
            let key = (port.protocol, port.published_port);
            if self.ports.get(&key) == Some(&service.id) {
                self.ports.remove(&key);
            }
        }
    }

    fn add_task(&mut self, object: &Object, task: &Task) {
        let of_service = self.tasks_by_service.entry(task.service.clone());
        of_service.or_default().insert(task.id.clone());
        if !task.node.is_empty() {
            let of_node = self.tasks_by_node.entry(task.node.clone());
            of_node.or_default().insert(task.id.clone());
        }
        // A task that ended keeps its attachments for people to see, but no longer holds the addresses.
        if !task.status.state.is_terminal() {
            self.add_addresses(object, &task.attachments);
        }
    }

    fn remove_task(&mut self, object: &Object, task: &Task) {
        drop_member(&mut self.tasks_by_service, &task.service, &task.id);
        drop_member(&mut self.tasks_by_node, &task.node, &task.id);
        self.remove_addresses(object, &task.attachments);
    }

    fn add_network(&mut self, network: &Network) {
        let name = network.spec.annotations.name.clone();
        self.networks_by_name.insert(name, network.id.clone());
        if let Some(allocation) = &network.allocation {
            self.vnis.insert(allocation.vni, network.id.clone());
        }
    }

    fn remove_network(&mut self, network: &Network) {
        let name = network.spec.annotations.name.as_str();
        if self.networks_by_name.get(name) == Some(&network.id) {
            self.networks_by_name.remove(name);
        }
        if let Some(allocation) = &network.allocation
            && self.vnis.get(&allocation.vni) == Some(&network.id)
        {
            self.vnis.remove(&allocation.vni);
        }
    }

    fn add_addresses(&mut self, object: &Object, attachments: &[crate::model::Attachment]) {
        for attachment in attachments {
            let key = (attachment.network.clone(), attachment.address);
            self.addresses.insert(key, object.id());
        }
    }

    fn remove_addresses(&mut self, object: &Object, attachments: &[crate::model::Attachment]) {
        for attachment in attachments {
            let key = (attachment.network.clone(), attachment.address);
            if self.addresses.get(&key) == Some(&object.id()) {
                self.addresses.remove(&key);
            }
        }
    }
}

fn drop_member<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, member: &V) {
    if let Some(set) = index.get_mut(key) {
        set.remove(member);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
