//! Whole plans of small nodes, and what must hold for any.

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
