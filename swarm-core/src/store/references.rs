//! What objects need of each other: a service its networks and ports, a network subnets of its own, the cluster a manager. Two requests that exclude each other may both pass their
//! checks before either is committed; the one that is applied second is refused here, on every manager.
//!
//! ```text
//!   remove network n    ─► checked: no service uses n   ─► committed
//!   create service on n ─► checked: n is there          ─► committed second: a service that can never run
//! ```
//!
//! Managers of different versions apply the same entries, so these rules must not change: whatever else a request has to
//! satisfy belongs to [`crate::control`].

use alloc::format;

use super::{Change, Draft, Object, ObjectId, Store, StoreError, Transaction};
use crate::{
    allocator::subnets,
    control::{Code, ControlError, only_member, second_ingress},
    id::{NetworkId, NodeId, ServiceId},
    model::{Network, Node, PortConfig, PublishMode, Role, Service, ServiceSpec},
};

/// Where the objects that a service needs are looked up.
pub(crate) trait Lookup {
    fn network(&self, id: &NetworkId) -> Option<&Network>;
    fn ingress_network(&self) -> Option<&Network>;
    fn services(&self) -> impl Iterator<Item = &Service>;
}

impl Lookup for Store {
    fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.network(id)
    }

    fn ingress_network(&self) -> Option<&Network> {
        self.ingress_network()
    }

    fn services(&self) -> impl Iterator<Item = &Service> {
        self.services()
    }
}

impl Lookup for Draft<'_> {
    fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.network(id)
    }

    fn ingress_network(&self) -> Option<&Network> {
        self.ingress_network()
    }

    fn services(&self) -> impl Iterator<Item = &Service> {
        self.services()
    }
}

/// What is put finds what it needs and takes nothing that another object has.
pub(super) fn check_put(store: &Store, object: &Object) -> Result<(), StoreError> {
    match object {
        Object::Service(service) => check_service(store, service),
        Object::Network(network) => check_network(store, network).map_err(StoreError::Overtaken),
        Object::Cluster(_) | Object::Node(_) | Object::Task(_) => Ok(()),
    }
}

/// There is one ingress network, and no two networks share an address.
fn check_network(store: &Store, network: &Network) -> Result<(), ControlError> {
    let others = || store.networks().filter(|other| other.id != network.id);
    if network.spec.ingress
        && let Some(present) = others().find(|other| other.spec.ingress)
    {
        return Err(second_ingress(present));
    }
    for subnet in subnets(network) {
        let clashes = |other: &&Network| subnets(other).any(|taken| taken.overlaps(subnet));
        if let Some(other) = others().find(clashes) {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                format!(
                    "subnet {subnet} overlaps with network {} ({})",
                    other.spec.annotations.name, other.id
                ),
            ));
        }
    }
    Ok(())
}

/// A transaction that demotes a manager leaves another one: of two demotions at once, each was checked against the other's
/// manager.
pub(super) fn check_managers(store: &Store, transaction: &Transaction) -> Result<(), StoreError> {
    let is_member = |node: &Node| node.spec.role == Role::Manager && node.manager.is_some();
    let put = |id: &NodeId| {
        let changes = transaction.changes.iter();
        changes.rev().find_map(|change| match change {
            Change::Put {
                object: Object::Node(node),
                ..
            } if node.id == *id => Some(node),
            Change::Put { .. } | Change::Remove { .. } => None,
        })
    };
    let demotes = |node: &Node| put(&node.id).is_some_and(|put| put.spec.role == Role::Worker);
    let mut members = store.nodes().filter(|node| is_member(node));
    if !members.any(demotes) {
        return Ok(());
    }
    let mut stays = store.nodes().map(|node| put(&node.id).unwrap_or(node));
    if stays.any(is_member) {
        return Ok(());
    }
    Err(StoreError::Overtaken(only_member(store)))
}

/// A service that is made or gets another specification finds its networks and its ports.
fn check_service(store: &Store, service: &Service) -> Result<(), StoreError> {
    let stored = store.service(&service.id);
    if stored.is_some_and(|stored| stored.spec == service.spec) {
        return Ok(()); // the leader's own: an endpoint, the progress of an update
    }
    check_references(store, &service.spec, Some(&service.id)).map_err(StoreError::Overtaken)
}

/// A network that goes is not needed by any service.
pub(super) fn check_remove(store: &Store, id: &ObjectId) -> Result<(), StoreError> {
    match id {
        ObjectId::Network(id) => match store.network(id) {
            Some(network) => check_unused(store, network).map_err(StoreError::Overtaken),
            None => Ok(()),
        },
        ObjectId::Cluster(_) | ObjectId::Node(_) | ObjectId::Service(_) | ObjectId::Task(_) => {
            Ok(())
        }
    }
}

/// Every network of a specification is there, and its ports are free or the service's `own`.
pub(crate) fn check_references(
    objects: &impl Lookup,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), ControlError> {
    for attachment in &spec.task.networks {
        let id = &attachment.network;
        if objects.network(id).is_none() {
            return Err(ControlError::new(
                Code::NotFound,
                format!("network {id} not found"),
            ));
        }
    }
    if wanted(spec).any(is_meshed) && objects.ingress_network().is_none() {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            "service needs ingress network, but no ingress network is present",
        ));
    }
    check_ports(objects, spec, own)
}

/// A fixed port may be published once per protocol: by one service through the mesh, and a port that one service
/// publishes on its nodes cannot be published by another through the mesh.
fn check_ports(
    objects: &impl Lookup,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), ControlError> {
    for port in wanted(spec).filter(|port| port.published_port != 0) {
        // Two services may publish the same port on their nodes: the scheduler keeps them apart.
        let clashes = |taken: &&PortConfig| {
            taken.protocol == port.protocol
                && taken.published_port == port.published_port
                && (is_meshed(taken) || is_meshed(port))
        };
        for other in objects.services().filter(|other| Some(&other.id) != own) {
            if let Some(taken) = ports(other).find(clashes) {
                return Err(port_conflict(
                    port.published_port,
                    other,
                    taken.publish_mode,
                ));
            }
        }
    }
    Ok(())
}

fn port_conflict(port: u16, other: &Service, mode: PublishMode) -> ControlError {
    let how = match mode {
        PublishMode::Ingress => "an ingress port",
        PublishMode::Host => "a host-published port",
    };
    ControlError::new(
        Code::InvalidArgument,
        format!(
            "port '{port}' is already in use by service '{}' ({}) as {how}",
            other.spec.annotations.name, other.id
        ),
    )
}

/// No service needs the network; the ingress network is needed by those that are still to get their ports as well.
pub(crate) fn check_unused(store: &Store, network: &Network) -> Result<(), ControlError> {
    let id = &network.id;
    if network.spec.ingress {
        let mut services = store.services();
        if let Some(service) = services.find(|service| ports(service).any(is_meshed)) {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                format!(
                    "ingress network cannot be removed because service {} depends on it",
                    service.id
                ),
            ));
        }
    } else if let Some(service) = store.services_of_network(id).next() {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            format!("network {id} is in use by service {}", service.id),
        ));
    }
    Ok(())
}

/// The ports a specification asks for.
fn wanted(spec: &ServiceSpec) -> impl Iterator<Item = &PortConfig> {
    spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports)
}

/// The ports a service asks for and those it has.
fn ports(service: &Service) -> impl Iterator<Item = &PortConfig> {
    let allocated = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    wanted(&service.spec).chain(allocated)
}

fn is_meshed(port: &PortConfig) -> bool {
    port.publish_mode == PublishMode::Ingress
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, format, string::String};

    use crate::{
        control,
        id::NetworkId,
        model::{IpamConfig, ManagerStatus, NetworkSpec, Reachability, Role, ServiceSpec, Subnet},
        store::{Object, Transaction},
        testing::{Cluster, attach, id, port, publish, service_spec},
    };

    fn create(cluster: &mut Cluster, spec: ServiceSpec) -> Transaction {
        let made = control::create_service(&cluster.store, spec, cluster.now, &mut cluster.rng);
        made.unwrap().1
    }

    fn on(name: &str, network: &NetworkId) -> ServiceSpec {
        let mut spec = service_spec(name, 1);
        spec.task.networks.push(attach(network));
        spec
    }

    fn second(cluster: &mut Cluster, first: Transaction, second: Transaction) -> String {
        cluster.commit(first);
        let before = cluster.store.clone();
        let refused = cluster.store.apply(cluster.commits + 1, second);
        assert!(cluster.store.tables == before.tables);
        control::ControlError::from(refused.unwrap_err()).message
    }

    /// A service and the removal of the network it needs, made from one state: the refusal of the second.
    fn at_odds(service_first: bool, meshed: bool) -> String {
        let mut cluster = Cluster::new(&["n1"]);
        let (network, spec) = if meshed {
            // Before the leader has given the service its port.
            let mut spec = service_spec("web", 1);
            spec.endpoint = Some(publish(&[port(0, 80)]));
            (cluster.store.ingress_network().unwrap().id.clone(), spec)
        } else {
            let network = cluster.create_network("n");
            let spec = on("web", &network);
            (network, spec)
        };
        let service = create(&mut cluster, spec);
        let removal = control::remove_network(&cluster.store, &network, cluster.now).unwrap();
        if service_first {
            second(&mut cluster, service, removal)
        } else {
            second(&mut cluster, removal, service)
        }
    }

    #[test]
    fn a_service_and_the_removal_of_its_network_exclude_each_other() {
        for (service_first, meshed, expected) in [
            (true, false, "is in use by service"),
            (false, false, "not found"),
            (
                true,
                true,
                "ingress network cannot be removed because service",
            ),
            (false, true, "no ingress network is present"),
        ] {
            let text = at_odds(service_first, meshed);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn of_two_networks_with_one_subnet_or_two_ingress_networks_the_second_is_refused() {
        let mut cluster = Cluster::new(&["n1"]);
        let ingress = cluster.store.ingress_network().unwrap().id.clone();
        let gone = control::remove_network(&cluster.store, &ingress, cluster.now).unwrap();
        cluster.commit(gone);
        let subnet = IpamConfig {
            subnet: Subnet {
                address: [10, 9, 0, 0].into(),
                prefix_len: 24,
            },
            gateway: None,
        };
        for (ingress, ipam, expected) in [
            (false, [subnet].as_slice(), "subnet 10.9.0.0/24 overlaps"),
            (true, &[], "is already present"),
        ] {
            let [a, b] = ["a", "b"].map(|name| {
                let mut spec = NetworkSpec {
                    driver: String::from("overlay"),
                    ingress,
                    ipam: ipam.to_vec(),
                    ..NetworkSpec::default()
                };
                spec.annotations.name = format!("{name}-{ingress}");
                let (store, now) = (&cluster.store, cluster.now);
                let made = control::create_network(store, spec, now, &mut cluster.rng);
                made.unwrap().1
            });
            let text = second(&mut cluster, a, b);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn of_two_demotions_that_leave_no_manager_the_second_is_refused() {
        let mut cluster = Cluster::new(&["n1", "n2"]);
        for (raft_id, name) in [(1, "n1"), (2, "n2")] {
            let mut node = cluster.store.node(&id(name)).unwrap().clone();
            let version = node.meta.version;
            node.spec.role = Role::Manager;
            node.manager = Some(ManagerStatus {
                raft_id,
                addr: ([10, 0, 0, 1], 2377).into(),
                leader: false,
                reachability: Reachability::Reachable,
            });
            cluster.commit(Transaction::new(cluster.now).put(Object::Node(node), version));
        }
        let [one, other] = ["n1", "n2"].map(|name| {
            let node = cluster.store.node(&id(name)).unwrap().clone();
            let version = node.meta.version;
            let mut spec = node.spec;
            spec.role = Role::Worker;
            let (store, now) = (&cluster.store, cluster.now);
            control::update_node(store, &node.id, version, spec, &BTreeSet::new(), now).unwrap()
        });
        let text = "attempting to demote the last manager of the swarm";
        assert_eq!(second(&mut cluster, one, other), text);
    }

    #[test]
    fn of_two_services_with_one_port_the_second_is_refused() {
        let mut cluster = Cluster::new(&["n1"]);
        let mut specs = ["a", "b"].map(|name| service_spec(name, 1));
        for spec in &mut specs {
            spec.endpoint = Some(publish(&[port(8080, 80)]));
        }
        let [a, b] = specs.map(|spec| create(&mut cluster, spec));
        let text = second(&mut cluster, a, b);
        assert!(text.contains("port '8080' is already in use"), "{text}");
    }
}
