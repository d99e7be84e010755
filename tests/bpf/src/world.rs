//! A small cluster every test shares: two nodes, an overlay network, the ingress network, one service.
//!
//! ```text
//! node a 192.0.2.1                          node b 192.0.2.2       client 192.0.2.3
//!   one   10.0.1.3                            far  10.0.1.5, 10.0.0.5
//!   two   10.0.1.4, 10.0.0.4
//!   (node itself 10.0.0.2)                    (node itself 10.0.0.3)
//! service 7 on network 4097: 10.0.1.100 -> two, far    service 8: 10.0.1.101 -> nobody
//! service 9: published tcp/udp 8080 -> 80 on two, far  service 10: 10.0.1.102 -> one
//! ```

use anyhow::Result;
use swarm_common::Addr;
use swarm_common::config::Config;
use swarm_common::mac;
use swarm_common::maps::{
    BackendKey, BackendValue, ENDPOINT_HOST, EndpointKey, EndpointValue, INGRESS_VNI, InterfaceKey,
    InterfaceValue, LocalAddressKey, LocalAddressValue, MAGLEV_SIZE, MaglevKey, MaglevTable,
    PeerKey, PeerValue, PublishedKey, PublishedValue, ServiceKey, ServiceValue, names,
};

use crate::fixture::Fixture;

/// The overlay network.
pub const VNI: u32 = 4097;
/// Underlay address of node a.
pub const NODE_A: [u8; 4] = [192, 0, 2, 1];
/// Underlay address of node b.
pub const NODE_B: [u8; 4] = [192, 0, 2, 2];
/// Somebody outside.
pub const CLIENT: [u8; 4] = [192, 0, 2, 3];
/// A task on node a.
pub const ONE: [u8; 4] = [10, 0, 1, 3];
/// A task on node a, backend.
pub const TWO: [u8; 4] = [10, 0, 1, 4];
/// A task on node b, backend.
pub const FAR: [u8; 4] = [10, 0, 1, 5];
/// The overlay's gateway.
pub const GATEWAY: [u8; 4] = [10, 0, 1, 1];
/// Virtual address of service 7.
pub const VIP: [u8; 4] = [10, 0, 1, 100];
/// Virtual address of a service without a backend.
pub const VIP_EMPTY: [u8; 4] = [10, 0, 1, 101];
/// Virtual address of a service whose only backend is [`ONE`].
pub const VIP_SELF: [u8; 4] = [10, 0, 1, 102];
/// [`TWO`] on the ingress network.
pub const TWO_INGRESS: [u8; 4] = [10, 0, 0, 4];
/// [`FAR`] on the ingress network.
pub const FAR_INGRESS: [u8; 4] = [10, 0, 0, 5];
/// Node a on the ingress network.
pub const HOST_A: [u8; 4] = [10, 0, 0, 2];
/// Node b on the ingress network.
pub const HOST_B: [u8; 4] = [10, 0, 0, 3];
/// Published port.
pub const PUBLISHED: u16 = 8080;
/// Port the tasks listen on.
pub const TARGET: u16 = 80;
/// Backend numbers of service 7: two, far; of service 9: two, far; of service 10: one.
pub const BACKENDS: [(u32, u32, [u8; 4]); 5] = [
    (1, VNI, TWO),
    (2, VNI, FAR),
    (3, INGRESS_VNI, TWO_INGRESS),
    (4, INGRESS_VNI, FAR_INGRESS),
    (5, VNI, ONE),
];

/// Host side of a local endpoint's veth.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// Network.
    pub vni: u32,
    /// Address in it.
    pub addr: [u8; 4],
    /// Interface.
    pub ifindex: u32,
    /// [`ENDPOINT_HOST`].
    pub flags: u32,
}

/// The configuration of a node.
pub fn config(node: [u8; 4], underlay_ifindex: u32, host_netns_cookie: u64) -> Config {
    Config {
        node_addr: Addr::v4(node),
        underlay_ifindex,
        underlay_mtu: 1500,
        underlay_prefix_len: 24,
        host_netns_cookie,
        ..Config::UNSET
    }
}

/// Fills a node's maps: `local` are the endpoints it has, `others` those of the other node.
pub fn fill(
    fixture: &mut Fixture,
    node: [u8; 4],
    peer: [u8; 4],
    local: &[Attachment],
    others: &[(u32, [u8; 4])],
) -> Result<()> {
    for attachment in local {
        add_local(fixture, *attachment)?;
    }
    for (vni, addr) in others {
        let value = EndpointValue {
            node: Addr::v4(peer),
            ifindex: 0,
            flags: 0,
            mac: mac::of(*addr),
            pad: [0; 2],
        };
        fixture.put(names::ENDPOINTS, endpoint(*vni, *addr), value)?;
    }
    for (backend, vni, addr) in BACKENDS {
        let value = BackendValue {
            vni,
            addr: Addr::v4(addr),
            flags: 0,
        };
        fixture.put(names::BACKENDS, BackendKey { backend }, value)?;
    }
    service(fixture, VIP, 7, &[1, 2])?;
    service(fixture, VIP_EMPTY, 8, &[])?;
    service(fixture, VIP_SELF, 10, &[5])?;
    publish(fixture, 9, &[3, 4])?;
    fixture.put(
        names::PEERS,
        PeerKey {
            node: Addr::v4(peer),
        },
        PeerValue::default(),
    )?;
    let key = LocalAddressKey {
        addr: Addr::v4(node),
    };
    fixture.put(names::LOCAL_ADDRESSES, key, LocalAddressValue::default())
}

/// Key of an endpoint.
pub fn endpoint(vni: u32, addr: [u8; 4]) -> EndpointKey {
    EndpointKey {
        vni,
        addr: Addr::v4(addr),
    }
}

/// A local endpoint and its interface.
pub fn add_local(fixture: &mut Fixture, attachment: Attachment) -> Result<()> {
    let Attachment {
        vni,
        addr,
        ifindex,
        flags,
    } = attachment;
    let value = EndpointValue {
        node: Addr::NONE,
        ifindex,
        flags,
        mac: mac::of(addr),
        pad: [0; 2],
    };
    fixture.put(names::ENDPOINTS, endpoint(vni, addr), value)?;
    let value = InterfaceValue {
        vni,
        flags,
        addr: Addr::v4(addr),
        gateway: Addr::v4([addr[0], addr[1], addr[2], 1]),
        netmask_be: u32::from_ne_bytes([255, 255, 255, 0]),
        mac: mac::of(addr),
        pad: [0; 2],
    };
    fixture.put(names::INTERFACES, InterfaceKey { ifindex }, value)
}

/// A virtual address whose backends take turns in the table.
pub fn service(fixture: &mut Fixture, vip: [u8; 4], service: u32, backends: &[u32]) -> Result<()> {
    let key = ServiceKey {
        vni: VNI,
        addr: Addr::v4(vip),
        ..ServiceKey::default()
    };
    let backend_count = u32::try_from(backends.len())?;
    let value = ServiceValue {
        service,
        backend_count,
        flags: 0,
    };
    fixture.put(names::SERVICES, key, value)?;
    table(fixture, service, backends)
}

/// Published port 8080 over TCP and UDP.
pub fn publish(fixture: &mut Fixture, service: u32, backends: &[u32]) -> Result<()> {
    for proto in [6, 17] {
        let key = PublishedKey {
            port_be: PUBLISHED.to_be(),
            proto,
            pad: 0,
        };
        let value = PublishedValue {
            service,
            target_port_be: TARGET.to_be(),
            pad: 0,
            backend_count: u32::try_from(backends.len())?,
            flags: 0,
        };
        fixture.put(names::PUBLISHED, key, value)?;
    }
    table(fixture, service, backends)
}

/// A table whose slots name the backends in turn.
pub fn table(fixture: &mut Fixture, service: u32, backends: &[u32]) -> Result<()> {
    let mut table = MaglevTable::default();
    for slot in 0..MAGLEV_SIZE {
        table.backends[slot] = backends
            .get(slot % backends.len().max(1))
            .copied()
            .unwrap_or(0);
    }
    fixture.put(names::MAGLEV, MaglevKey { service }, table)
}

/// The node's own attachment.
pub fn host(addr: [u8; 4], ifindex: u32) -> Attachment {
    Attachment {
        vni: INGRESS_VNI,
        addr,
        ifindex,
        flags: ENDPOINT_HOST,
    }
}
