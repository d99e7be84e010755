//! The plan of one node's data path: from its assignments and the interfaces that exist to the contents of every map.
//!
//! Local interfaces come first: an endpoint of this node is programmed from the interface itself, so it is reachable before the
//! managers have spread the news, and never points at an interface that is gone.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::net::{IpAddr, Ipv4Addr};

use swarm_common::{
    Addr, mac,
    maps::{
        BackendKey, BackendValue, ENDPOINT_HOST, EndpointKey, EndpointValue, InterfaceKey,
        InterfaceValue, LOCAL_VNI, LocalAddressKey, LocalAddressValue, MAGLEV_SIZE, PeerKey,
        PeerValue, PublishedKey, PublishedValue, ServiceKey, ServiceValue, SourceKey, SourceValue,
    },
};

use super::{
    maglev::maglev,
    numbers::{hash_bytes, numbers},
};
use crate::{
    dispatch::{Assignment, AssignmentKey, Assignments, EndpointInfo, ServiceInfo},
    id::{NetworkId, NodeId, ServiceId, TaskId},
    model::{Protocol, PublishMode, Subnet, Task},
};

/// What the maps of one node should hold; field and type names are those of `swarm_common::maps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredMaps {
    /// `endpoints`
    pub endpoints: BTreeMap<EndpointKey, EndpointValue>,
    /// `interfaces`
    pub interfaces: BTreeMap<InterfaceKey, InterfaceValue>,
    /// `sources`
    pub sources: BTreeMap<SourceKey, SourceValue>,
    /// `services`
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    /// `backends`
    pub backends: BTreeMap<BackendKey, BackendValue>,
    /// `maglev`: service number to one backend number per slot
    pub maglev: BTreeMap<u32, Vec<u32>>,
    /// `published`
    pub published: BTreeMap<PublishedKey, PublishedValue>,
    /// `peers`
    pub peers: BTreeMap<PeerKey, PeerValue>,
    /// `local_addresses`
    pub local_addresses: BTreeMap<LocalAddressKey, LocalAddressValue>,
}

/// What exists on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFacts {
    /// This node.
    pub node: NodeId,
    /// Its addresses outside the overlay on which published ports answer, with their interfaces' indexes.
    pub addresses: Vec<(IpAddr, u32)>,
    /// Veths whose host side carries the task program.
    pub interfaces: Vec<LocalInterface>,
}

/// A veth of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalInterface {
    /// Whose it is.
    pub owner: Owner,
    /// The overlay network; `None` for the node-local network.
    pub network: Option<NetworkId>,
    /// Its address.
    pub address: Ipv4Addr,
    /// The network's subnet.
    pub subnet: Subnet,
    /// The network's gateway.
    pub gateway: Ipv4Addr,
    /// Index of the side that carries the program.
    pub ifindex: u32,
}

/// Whose veth it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A task's.
    Task(TaskId),
    /// The node's own, on the ingress network.
    Host,
}

/// A balanced name: a service on one network, or its host-mode ports on this node.
type Balanced<'a> = (&'a ServiceId, Option<&'a NetworkId>);
/// A backend: network number and address.
type Backend = (u32, Ipv4Addr);

/// What the node's maps should hold.
pub fn plan(assignments: &Assignments, facts: &LocalFacts) -> DesiredMaps {
    let view = View::new(assignments, facts);
    let mut maps = DesiredMaps::default();
    local_endpoints(&view, &mut maps);
    remote_endpoints(&view, &mut maps);
    balancing(&view, &mut maps);
    for address in view.peers.values() {
        maps.peers.insert(
            PeerKey {
                node: Addr::from(*address),
            },
            PeerValue::default(),
        );
    }
    for (address, ifindex) in &facts.addresses {
        maps.local_addresses.insert(
            LocalAddressKey {
                addr: Addr::from(*address),
            },
            LocalAddressValue { ifindex: *ifindex },
        );
    }
    maps
}

/// The assignments sorted by kind.
struct View<'a> {
    facts: &'a LocalFacts,
    vnis: BTreeMap<&'a NetworkId, u32>,
    ingress: Option<&'a NetworkId>,
    endpoints: Vec<&'a EndpointInfo>,
    services: Vec<&'a ServiceInfo>,
    tasks: BTreeMap<&'a TaskId, &'a Task>,
    peers: BTreeMap<&'a NodeId, IpAddr>,
}

impl<'a> View<'a> {
    fn new(assignments: &'a Assignments, facts: &'a LocalFacts) -> Self {
        let mut view = Self {
            facts,
            vnis: BTreeMap::new(),
            ingress: None,
            endpoints: Vec::new(),
            services: Vec::new(),
            tasks: BTreeMap::new(),
            peers: BTreeMap::new(),
        };
        for (key, assignment) in assignments {
            view.add(key, assignment);
        }
        view
    }

    fn add(&mut self, key: &'a AssignmentKey, assignment: &'a Assignment) {
        match (key, assignment) {
            (AssignmentKey::Network(id), Assignment::Network(network)) => {
                if let Some(allocation) = &network.allocation {
                    self.vnis.insert(id, allocation.vni);
                }
                if network.spec.ingress {
                    self.ingress = Some(id);
                }
            }
            (_, Assignment::Endpoint(endpoint)) => self.endpoints.push(endpoint),
            (_, Assignment::Service(service)) => self.services.push(service),
            (AssignmentKey::Task(id), Assignment::Task(task)) => {
                self.tasks.insert(id, task);
            }
            (AssignmentKey::Peer(id), Assignment::Peer(peer)) => {
                self.peers.insert(id, peer.data_path_addr);
            }
            (
                _,
                Assignment::Network(_)
                | Assignment::Task(_)
                | Assignment::Peer(_)
                | Assignment::IngressAddress(_),
            ) => {}
        }
    }

    fn vni(&self, network: Option<&NetworkId>) -> Option<u32> {
        network.map_or(Some(LOCAL_VNI), |network| self.vnis.get(network).copied())
    }
}

fn local_endpoints(view: &View<'_>, maps: &mut DesiredMaps) {
    for interface in &view.facts.interfaces {
        let Some(vni) = view.vni(interface.network.as_ref()) else {
            continue; // the network's assignment is gone: its last task here is being removed
        };
        local_endpoint(interface, vni, maps);
        sources(view, interface, maps);
    }
}

fn local_endpoint(interface: &LocalInterface, vni: u32, maps: &mut DesiredMaps) {
    let flags = match interface.owner {
        Owner::Host => ENDPOINT_HOST,
        Owner::Task(_) => 0,
    };
    let addr = Addr::from(interface.address);
    let mac = mac::of(interface.address.octets());
    let ifindex = interface.ifindex;
    maps.endpoints.insert(
        EndpointKey { vni, addr },
        EndpointValue {
            node: Addr::NONE,
            ifindex,
            flags,
            mac,
            pad: [0; 2],
        },
    );
    maps.interfaces.insert(
        InterfaceKey { ifindex },
        InterfaceValue {
            vni,
            flags,
            addr,
            gateway: Addr::from(interface.gateway),
            netmask_be: netmask_be(interface.subnet.prefix_len),
            mac,
            pad: [0; 2],
        },
    );
}

/// The addresses of the owner's other interfaces: it may send from those too.
fn sources(view: &View<'_>, interface: &LocalInterface, maps: &mut DesiredMaps) {
    let ifindex = interface.ifindex;
    let siblings = view
        .facts
        .interfaces
        .iter()
        .filter(|other| other.owner == interface.owner && other.ifindex != ifindex);
    for sibling in siblings {
        if let Some(vni) = view.vni(sibling.network.as_ref()) {
            let addr = Addr::from(sibling.address);
            maps.sources
                .insert(SourceKey { ifindex, addr }, SourceValue { vni });
        }
    }
}

fn remote_endpoints(view: &View<'_>, maps: &mut DesiredMaps) {
    for endpoint in view
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.node != view.facts.node)
    {
        let vni = view.vnis.get(&endpoint.network);
        let node = view.peers.get(&endpoint.node);
        if let (Some(vni), Some(node)) = (vni, node) {
            maps.endpoints.insert(
                EndpointKey {
                    vni: *vni,
                    addr: Addr::from(endpoint.address),
                },
                EndpointValue {
                    node: Addr::from(*node),
                    ifindex: 0,
                    flags: 0,
                    mac: mac::of(endpoint.address.octets()),
                    pad: [0; 2],
                },
            );
        }
    }
}

/// Virtual addresses, published ports, their tables and backends.
fn balancing(view: &View<'_>, maps: &mut DesiredMaps) {
    let groups = groups(view);
    let service_numbers = numbers(groups.keys().map(|(service, network)| {
        let name = network.map_or("", NetworkId::as_str);
        (
            (*service, *network),
            hash_bytes(&[service.as_str().as_bytes(), name.as_bytes()]),
        )
    }));
    let backend_numbers = numbers(groups.values().flatten().map(|(vni, address)| {
        (
            (*vni, *address),
            hash_bytes(&[&vni.to_be_bytes(), &address.octets()]),
        )
    }));
    for (balanced, backends) in &groups {
        if let Some(number) = service_numbers.get(balanced) {
            table(*number, backends, &backend_numbers, maps);
        }
    }
    let numbered = |balanced: &Balanced<'_>| {
        let backends = groups.get(balanced)?.len();
        Some((
            *service_numbers.get(balanced)?,
            u32::try_from(backends).unwrap_or(u32::MAX),
        ))
    };
    for service in &view.services {
        virtual_addresses(view, service, &numbered, maps);
        published_ports(view, service, &numbered, maps);
    }
}

/// The Maglev table of one balanced name, and what the numbers in it mean.
fn table(
    service: u32,
    backends: &BTreeSet<Backend>,
    numbers: &BTreeMap<Backend, u32>,
    maps: &mut DesiredMaps,
) {
    let number = |backend: &Backend| numbers.get(backend).copied().unwrap_or(0);
    let names: Vec<u64> = backends.iter().copied().map(backend_name).collect();
    let slots = maglev(&names, MAGLEV_SIZE);
    if !slots.is_empty() {
        let of_slot: Vec<u32> = backends.iter().map(number).collect();
        let filled = slots.iter().map(|slot| of_slot[*slot]);
        maps.maglev.insert(service, filled.collect());
    }
    for backend in backends {
        let (vni, address) = *backend;
        let key = BackendKey {
            backend: number(backend),
        };
        let addr = Addr::from(address);
        maps.backends.insert(
            key,
            BackendValue {
                vni,
                addr,
                flags: 0,
            },
        );
    }
}

/// Number and backend count of a balanced name.
type Numbered<'a> = dyn Fn(&Balanced<'_>) -> Option<(u32, u32)> + 'a;

fn virtual_addresses(
    view: &View<'_>,
    service: &ServiceInfo,
    numbered: &Numbered<'_>,
    maps: &mut DesiredMaps,
) {
    for vip in &service.virtual_ips {
        let entry = numbered(&(&service.id, Some(&vip.network)));
        if let (Some(vni), Some((number, backend_count))) = (view.vnis.get(&vip.network), entry) {
            maps.services.insert(
                ServiceKey {
                    vni: *vni,
                    addr: Addr::from(vip.address),
                    port_be: 0,
                    proto: 0,
                    pad: 0,
                },
                ServiceValue {
                    service: number,
                    backend_count,
                    flags: 0,
                },
            );
        }
    }
}

fn published_ports(
    view: &View<'_>,
    service: &ServiceInfo,
    numbered: &Numbered<'_>,
    maps: &mut DesiredMaps,
) {
    for port in &service.ports {
        let network = match port.publish_mode {
            PublishMode::Ingress => view.ingress,
            PublishMode::Host => None,
        };
        let ingress_without_network =
            port.publish_mode == PublishMode::Ingress && network.is_none();
        let (Some(proto), false) = (protocol_number(port.protocol), ingress_without_network) else {
            continue;
        };
        if let Some((service, backend_count)) = numbered(&(&service.id, network)) {
            maps.published.insert(
                PublishedKey {
                    port_be: port.published_port.to_be(),
                    proto,
                    pad: 0,
                },
                PublishedValue {
                    service,
                    target_port_be: port.target_port.to_be(),
                    pad: 0,
                    backend_count,
                    flags: 0,
                },
            );
        }
    }
}

/// For every balanced name its backends, ordered so that all nodes compute the same tables.
fn groups<'a>(view: &View<'a>) -> BTreeMap<Balanced<'a>, BTreeSet<Backend>> {
    let mut groups: BTreeMap<Balanced<'a>, BTreeSet<Backend>> = BTreeMap::new();
    for service in &view.services {
        let service: &'a ServiceInfo = service;
        for vip in &service.virtual_ips {
            groups.insert(
                (&service.id, Some(&vip.network)),
                on_network(view, &service.id, &vip.network),
            );
        }
        let host_mode = service
            .ports
            .iter()
            .any(|port| port.publish_mode == PublishMode::Host);
        let here = if host_mode {
            on_this_node(view, &service.id)
        } else {
            BTreeSet::new()
        };
        if !here.is_empty() {
            groups.insert((&service.id, None), here);
        }
    }
    groups
}

/// The service's tasks on a network that take new connections; the draining ones if no other is left.
fn on_network(view: &View<'_>, service: &ServiceId, network: &NetworkId) -> BTreeSet<Backend> {
    let Some(vni) = view.vnis.get(network) else {
        return BTreeSet::new();
    };
    let of_service = view.endpoints.iter().filter(|endpoint| {
        endpoint.service.as_ref() == Some(service)
            && endpoint.network == *network
            && endpoint.serving
    });
    let (draining, fresh): (Vec<_>, Vec<_>) = of_service
        .map(|endpoint| (endpoint.draining, (*vni, endpoint.address)))
        .partition(|e| e.0);
    let chosen = if fresh.is_empty() { draining } else { fresh };
    chosen.into_iter().map(|(_, backend)| backend).collect()
}

/// The service's tasks on this node, each by its first interface: what a host-mode port leads to.
fn on_this_node(view: &View<'_>, service: &ServiceId) -> BTreeSet<Backend> {
    let mut seen = BTreeSet::new();
    view.facts
        .interfaces
        .iter()
        .filter(|interface| match &interface.owner {
            Owner::Task(task) => {
                view.tasks
                    .get(task)
                    .is_some_and(|task| task.service == *service)
                    && seen.insert(task)
            }
            Owner::Host => false,
        })
        .filter_map(|interface| Some((view.vni(interface.network.as_ref())?, interface.address)))
        .collect()
}

fn backend_name((vni, address): Backend) -> u64 {
    (u64::from(vni) << 32) | u64::from(address.to_bits())
}

/// IP protocol number; `None` for what the data path does not publish.
fn protocol_number(protocol: Protocol) -> Option<u8> {
    match protocol {
        Protocol::Tcp => Some(6),
        Protocol::Udp => Some(17),
        Protocol::Sctp => None,
    }
}

/// The netmask of a prefix length, in network byte order.
fn netmask_be(prefix_len: u8) -> u32 {
    let host_bits = 32 - u32::from(prefix_len.min(32));
    u32::MAX.checked_shl(host_bits).unwrap_or(0).to_be()
}

#[cfg(test)]
mod tests;
