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
        let flags = if interface.owner == Owner::Host {
            ENDPOINT_HOST
        } else {
            0
        };
        let addr = Addr::from(interface.address);
        let mac = mac::of(interface.address.octets());
        maps.endpoints.insert(
            EndpointKey { vni, addr },
            EndpointValue {
                node: Addr::NONE,
                ifindex: interface.ifindex,
                flags,
                mac,
                pad: [0; 2],
            },
        );
        maps.interfaces.insert(
            InterfaceKey {
                ifindex: interface.ifindex,
            },
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
        let siblings =
            view.facts.interfaces.iter().filter(|other| {
                other.owner == interface.owner && other.ifindex != interface.ifindex
            });
        for sibling in siblings {
            if let Some(vni) = view.vni(sibling.network.as_ref()) {
                let key = SourceKey {
                    ifindex: interface.ifindex,
                    addr: Addr::from(sibling.address),
                };
                maps.sources.insert(key, SourceValue { vni });
            }
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
        let Some(number) = service_numbers.get(balanced) else {
            continue;
        };
        let names: Vec<u64> = backends.iter().copied().map(backend_name).collect();
        let slots = maglev(&names, MAGLEV_SIZE);
        if !slots.is_empty() {
            let of_slot: Vec<u32> = backends
                .iter()
                .map(|backend| backend_numbers.get(backend).copied().unwrap_or(0))
                .collect();
            maps.maglev
                .insert(*number, slots.iter().map(|slot| of_slot[*slot]).collect());
        }
        for (vni, address) in backends {
            let backend = backend_numbers.get(&(*vni, *address)).copied().unwrap_or(0);
            maps.backends.insert(
                BackendKey { backend },
                BackendValue {
                    vni: *vni,
                    addr: Addr::from(*address),
                    flags: 0,
                },
            );
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
mod tests {
    use alloc::string::{String, ToString};

    use super::*;
    use crate::{
        dispatch::Peer,
        id::ID_LEN,
        model::{
            Annotations, Attachment, EndpointMode, Meta, Network, NetworkAllocation, NetworkSpec,
            PortConfig,
        },
    };

    fn id<T: core::str::FromStr<Err: core::fmt::Debug>>(letter: char) -> T {
        core::iter::repeat_n(letter, ID_LEN)
            .collect::<String>()
            .parse()
            .unwrap()
    }

    fn network(letter: char, vni: u32, third: u8, ingress: bool) -> (AssignmentKey, Assignment) {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 0, third, 0),
            prefix_len: 24,
        };
        let network = Network {
            id: id(letter),
            meta: Meta::default(),
            spec: NetworkSpec {
                annotations: Annotations {
                    name: letter.to_string(),
                    ..Annotations::default()
                },
                ingress,
                ..NetworkSpec::default()
            },
            allocation: Some(NetworkAllocation {
                vni,
                subnet,
                gateway: Ipv4Addr::new(10, 0, third, 1),
                next_host: 2,
            }),
        };
        (
            AssignmentKey::Network(id(letter)),
            Assignment::Network(network),
        )
    }

    fn endpoint(
        network: char,
        address: [u8; 4],
        node: char,
        draining: bool,
    ) -> (AssignmentKey, Assignment) {
        let address = Ipv4Addr::from(address);
        let info = EndpointInfo {
            network: id(network),
            address,
            node: id(node),
            task: None,
            service: Some(id('s')),
            names: Vec::new(),
            serving: true,
            draining,
        };
        (
            AssignmentKey::Endpoint(id(network), address),
            Assignment::Endpoint(info),
        )
    }

    fn service() -> (AssignmentKey, Assignment) {
        let vip = |network, address: [u8; 4]| Attachment {
            network: id(network),
            address: Ipv4Addr::from(address),
            prefix_len: 24,
            aliases: Vec::new(),
        };
        let info = ServiceInfo {
            id: id('s'),
            name: String::from("web"),
            mode: EndpointMode::Vip,
            virtual_ips: alloc::vec![vip('i', [10, 0, 0, 9]), vip('n', [10, 0, 1, 2])],
            ports: alloc::vec![PortConfig {
                name: String::new(),
                protocol: Protocol::Tcp,
                target_port: 80,
                published_port: 8080,
                publish_mode: PublishMode::Ingress,
            }],
        };
        (AssignmentKey::Service(id('s')), Assignment::Service(info))
    }

    fn peer(node: char, address: [u8; 4]) -> (AssignmentKey, Assignment) {
        let data_path_addr = IpAddr::from(address);
        let info = Peer {
            node: id(node),
            hostname: String::new(),
            data_path_addr,
        };
        (AssignmentKey::Peer(id(node)), Assignment::Peer(info))
    }

    fn facts() -> LocalFacts {
        let interface = |owner, network, third, last, ifindex| LocalInterface {
            owner,
            network: Some(id(network)),
            address: Ipv4Addr::new(10, 0, third, last),
            subnet: Subnet {
                address: Ipv4Addr::new(10, 0, third, 0),
                prefix_len: 24,
            },
            gateway: Ipv4Addr::new(10, 0, third, 1),
            ifindex,
        };
        LocalFacts {
            node: id('a'),
            addresses: alloc::vec![(IpAddr::from([192, 168, 0, 1]), 2)],
            interfaces: alloc::vec![
                interface(Owner::Task(id('t')), 'i', 0, 5, 11),
                interface(Owner::Task(id('t')), 'n', 1, 5, 12),
                interface(Owner::Host, 'i', 0, 2, 13),
            ],
        }
    }

    fn assignments(drain_remote: bool) -> Assignments {
        [
            network('i', 4096, 0, true),
            network('n', 4097, 1, false),
            endpoint('i', [10, 0, 0, 5], 'a', false),
            endpoint('n', [10, 0, 1, 5], 'a', false),
            endpoint('i', [10, 0, 0, 6], 'b', drain_remote),
            endpoint('n', [10, 0, 1, 6], 'b', drain_remote),
            endpoint('n', [10, 0, 1, 7], 'z', false),
            service(),
            peer('b', [192, 168, 0, 2]),
        ]
        .into_iter()
        .collect()
    }

    fn endpoint_key(vni: u32, address: [u8; 4]) -> EndpointKey {
        EndpointKey {
            vni,
            addr: Addr::v4(address),
        }
    }

    #[test]
    fn local_endpoints_point_at_interfaces_and_remote_ones_at_nodes() {
        let maps = plan(&assignments(false), &facts());
        let local = maps.endpoints[&endpoint_key(4097, [10, 0, 1, 5])];
        assert_eq!(
            (local.node, local.ifindex, local.flags),
            (Addr::NONE, 12, 0)
        );
        assert_eq!(local.mac, [2, 0x42, 10, 0, 1, 5]);
        let remote = maps.endpoints[&endpoint_key(4097, [10, 0, 1, 6])];
        assert_eq!(
            (remote.node, remote.ifindex),
            (Addr::v4([192, 168, 0, 2]), 0)
        );
        let host = maps.endpoints[&endpoint_key(4096, [10, 0, 0, 2])];
        assert_eq!((host.ifindex, host.flags), (13, ENDPOINT_HOST));
        // Node z has no data path address (it is down or new): nothing can be sent to it.
        assert!(
            !maps
                .endpoints
                .contains_key(&endpoint_key(4097, [10, 0, 1, 7]))
        );
        assert_eq!(
            maps.interfaces[&InterfaceKey { ifindex: 12 }].netmask_be,
            0xffff_ff00_u32.to_be()
        );
    }

    #[test]
    fn a_task_may_send_with_its_address_on_another_network() {
        let maps = plan(&assignments(false), &facts());
        let expected = [
            (
                SourceKey {
                    ifindex: 11,
                    addr: Addr::v4([10, 0, 1, 5]),
                },
                SourceValue { vni: 4097 },
            ),
            (
                SourceKey {
                    ifindex: 12,
                    addr: Addr::v4([10, 0, 0, 5]),
                },
                SourceValue { vni: 4096 },
            ),
        ];
        assert_eq!(maps.sources, BTreeMap::from(expected));
    }

    #[test]
    fn virtual_addresses_and_ports_lead_to_all_serving_tasks() {
        let maps = plan(&assignments(false), &facts());
        let key = ServiceKey {
            vni: 4097,
            addr: Addr::v4([10, 0, 1, 2]),
            port_be: 0,
            proto: 0,
            pad: 0,
        };
        let vip = maps.services[&key];
        // 10.0.1.7 serves too, on a node without a data path address: its share is lost until it is seen to be down.
        assert_eq!(vip.backend_count, 3);
        let table = &maps.maglev[&vip.service];
        assert_eq!(table.len(), MAGLEV_SIZE);
        assert!(table.iter().all(|backend| {
            maps.backends
                .contains_key(&BackendKey { backend: *backend })
        }));
        let port = maps.published[&PublishedKey {
            port_be: 8080_u16.to_be(),
            proto: 6,
            pad: 0,
        }];
        assert_eq!(
            (port.backend_count, port.target_port_be),
            (2, 80_u16.to_be())
        );
        assert_ne!(port.service, vip.service);
    }

    #[test]
    fn draining_tasks_get_no_new_flows_unless_no_other_is_left() {
        let maps = plan(&assignments(true), &facts());
        let port = maps.published[&PublishedKey {
            port_be: 8080_u16.to_be(),
            proto: 6,
            pad: 0,
        }];
        assert_eq!(port.backend_count, 1);
        let only_draining: Assignments = assignments(true)
            .into_iter()
            .filter(|(key, _)| *key != AssignmentKey::Endpoint(id('i'), Ipv4Addr::new(10, 0, 0, 5)))
            .collect();
        let maps = plan(&only_draining, &facts());
        let port = maps.published[&PublishedKey {
            port_be: 8080_u16.to_be(),
            proto: 6,
            pad: 0,
        }];
        assert_eq!(port.backend_count, 1);
    }

    #[test]
    fn the_plan_of_two_nodes_agrees_on_tables() {
        let here = plan(&assignments(false), &facts());
        let there = plan(
            &assignments(false),
            &LocalFacts {
                node: id('b'),
                interfaces: Vec::new(),
                ..facts()
            },
        );
        assert_eq!(here.maglev, there.maglev);
        assert_eq!(here.backends, there.backends);
    }
}
