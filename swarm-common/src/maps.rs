//! Keys and values of every BPF map, and the maps' names and kinds.
//!
//! Rules: `repr(C)`, fixed-width integers, no implicit padding (hash keys compare every byte), field
//! names that read well in `bpftool map dump`. A field named `*_be` holds network byte order in a
//! native integer (the bytes as they lie in a packet); every other integer is native. Padding
//! fields must be zero. Sizes and offsets are asserted in [`crate::layout`].
//!
//! Who writes: the agent writes all maps of the first group, programs only read them; programs
//! write the flow and statistics maps, the agent only reads and removes.

use crate::addr::Addr;

/// Map names as they appear in the object file and below the pin directory.
pub mod names {
    /// `Hash<EndpointKey, EndpointValue>`: where every overlay address lives. Written by the agent.
    pub const ENDPOINTS: &str = "endpoints";
    /// `Hash<InterfaceKey, InterfaceValue>`: identity of the host side of each veth. Agent.
    pub const INTERFACES: &str = "interfaces";
    /// `Hash<SourceKey, SourceValue>`: further addresses a veth may send from. Agent.
    pub const SOURCES: &str = "sources";
    /// `Hash<ServiceKey, ServiceValue>`: virtual addresses. Agent.
    pub const SERVICES: &str = "services";
    /// `Hash<BackendKey, BackendValue>`: what the numbers in a Maglev table mean. Agent.
    pub const BACKENDS: &str = "backends";
    /// `Hash<MaglevKey, MaglevTable>`, not preallocated: one update swaps a whole table. Agent.
    pub const MAGLEV: &str = "maglev";
    /// `Hash<PublishedKey, PublishedValue>`: published ports of the cluster. Agent.
    pub const PUBLISHED: &str = "published";
    /// `Hash<PeerKey, PeerValue>`: nodes whose VXLAN is accepted. Agent.
    pub const PEERS: &str = "peers";
    /// `Hash<LocalAddressKey, LocalAddressValue>`: this node's own addresses. Agent.
    pub const LOCAL_ADDRESSES: &str = "local_addresses";
    /// `Array<Meta>`, one entry. Agent.
    pub const META: &str = "meta";

    /// `LruHash<FlowKey, FlowValue>`: translations. Programs.
    pub const CONNTRACK: &str = "conntrack";
    /// `Array<VipClient>`, index [`super::vip_client`]: endpoints of this node that use virtual addresses. Programs.
    pub const VIP_CLIENTS: &str = "vip_clients";
    /// `PerCpuArray<PathOut>`, index [`crate::paths::PathOut::index`]: what the tables said. Programs.
    pub const PATHS_OUT: &str = "paths_out";
    /// `PerCpuArray<PathIn>`, index [`crate::paths::PathIn::index`]: what the tables said. Programs.
    pub const PATHS_IN: &str = "paths_in";
    /// `LruHash<HostFlowKey, HostFlowValue>`: what the node's own sockets asked for. Programs.
    pub const HOST_FLOWS: &str = "host_flows";
    /// `PerCpuHash<ServiceStatsKey, ServiceStats>`. Programs.
    pub const SERVICE_STATS: &str = "service_stats";
    /// `PerCpuArray<DropCount>`, index [`crate::verdict::DropReason`]. Programs.
    pub const DROPS: &str = "drops";
    /// `PerCpuArray<Counter>`, index [`crate::verdict::counter_index`]. Programs.
    pub const COUNTERS: &str = "counters";
    /// Ring buffer of [`super::Event`]. Programs.
    pub const EVENTS: &str = "events";

    /// Every map, in the order above: what the loader pins.
    pub const ALL: [&str; 19] = [
        ENDPOINTS,
        INTERFACES,
        SOURCES,
        SERVICES,
        BACKENDS,
        MAGLEV,
        PUBLISHED,
        PEERS,
        LOCAL_ADDRESSES,
        META,
        CONNTRACK,
        VIP_CLIENTS,
        PATHS_OUT,
        PATHS_IN,
        HOST_FLOWS,
        SERVICE_STATS,
        DROPS,
        COUNTERS,
        EVENTS,
    ];
}

/// Capacity of each map as built; the loader may resize the hash maps.
pub mod capacity {
    /// Entries of `endpoints`.
    pub const ENDPOINTS: usize = 65_536;
    /// Entries of `interfaces`.
    pub const INTERFACES: usize = 4_096;
    /// Entries of `sources`.
    pub const SOURCES: usize = 8_192;
    /// Entries of `services`.
    pub const SERVICES: usize = 16_384;
    /// Entries of `backends`.
    pub const BACKENDS: usize = 65_536;
    /// Entries of `maglev`.
    pub const MAGLEV: usize = 16_384;
    /// Entries of `published`.
    pub const PUBLISHED: usize = 16_384;
    /// Entries of `peers`.
    pub const PEERS: usize = 16_384;
    /// Entries of `local_addresses`.
    pub const LOCAL_ADDRESSES: usize = 1_024;
    /// Entries of `conntrack`: four times what is expected, because an LRU map evicts before it is full.
    pub const CONNTRACK: usize = 65_536;
    /// Entries of `vip_clients` (a power of two).
    pub const VIP_CLIENTS: usize = 4_096;
    /// Entries of `host_flows`.
    pub const HOST_FLOWS: usize = 16_384;
    /// Entries of `service_stats`.
    pub const SERVICE_STATS: usize = 16_384;
    /// Bytes of `events` (a power of two of pages).
    pub const EVENTS_BYTES: usize = 262_144;
}

/// VNI of the ingress network (10.0.0.0/24).
pub const INGRESS_VNI: u32 = 4096;
/// VNI of the node-local network of tasks without any network (172.17.0.0/16).
pub const LOCAL_VNI: u32 = 0;
/// Reserved VNI: an unchanged packet for a published port, on its way to the backend's node.
pub const INGRESS_FORWARD_VNI: u32 = 0x00ff_fffe;
/// Reserved VNI: a translated reply on its way back to the node the client spoke to.
pub const INGRESS_RETURN_VNI: u32 = 0x00ff_fffd;
/// Reserved number in conntrack keys: the outside half of a masqueraded flow.
pub const MASQUERADE_VNI: u32 = 0x00ff_fffc;

/// Slots of a Maglev table (prime).
pub const MAGLEV_SIZE: usize = 1021;

/// `endpoints` key: an address inside one network.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EndpointKey {
    /// The network.
    pub vni: u32,
    /// The address in it.
    pub addr: Addr,
}

/// `endpoints` value: where the address lives. Gateways and virtual addresses are not endpoints.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EndpointValue {
    /// Underlay address of its node; [`Addr::NONE`] when it is on this node.
    pub node: Addr,
    /// Host side of its veth when on this node, else 0.
    pub ifindex: u32,
    /// [`ENDPOINT_HOST`].
    pub flags: u32,
    /// Its hardware address (02:42:a:b:c:d).
    pub mac: [u8; 6],
    /// Zero.
    pub pad: [u8; 2],
}

/// [`EndpointValue::flags`], [`InterfaceValue::flags`]: the node's own attachment (`swhost0` behind
/// `swhost1`), not a task: deliver by plain redirect, because both ends are in one namespace.
pub const ENDPOINT_HOST: u32 = 1;

/// `interfaces` key: the host side of a veth.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct InterfaceKey {
    /// Interface index in the agent's namespace.
    pub ifindex: u32,
}

/// `interfaces` value: who sends through this veth.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct InterfaceValue {
    /// The network it is attached to.
    pub vni: u32,
    /// [`ENDPOINT_HOST`].
    pub flags: u32,
    /// The address of the attachment.
    pub addr: Addr,
    /// The network's gateway (.1); also the source of hairpinned packets.
    pub gateway: Addr,
    /// Netmask of the IPv4 subnet in network byte order (255.255.255.0 for a /24).
    pub netmask_be: u32,
    /// Hardware address of the task's end (02:42:a:b:c:d).
    pub mac: [u8; 6],
    /// Zero.
    pub pad: [u8; 2],
}

/// `sources` key: a further address the task behind a veth owns (on its other attachments).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SourceKey {
    /// Host side of the veth the packet is sent through.
    pub ifindex: u32,
    /// The address used as source.
    pub addr: Addr,
}

/// `sources` value: which attachment the address belongs to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SourceValue {
    /// The network of that attachment.
    pub vni: u32,
}

/// `services` key: a virtual address. `port_be` and `proto` are 0 (any) today.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServiceKey {
    /// The network.
    pub vni: u32,
    /// The virtual address.
    pub addr: Addr,
    /// Destination port in network byte order; 0 matches every port.
    pub port_be: u16,
    /// IP protocol; 0 matches every protocol.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}

/// `services` value.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServiceValue {
    /// Key of `maglev` and `service_stats`: one number per (service, network).
    pub service: u32,
    /// Backends that take new flows; 0 refuses them.
    pub backend_count: u32,
    /// Zero.
    pub flags: u32,
}

/// `backends` key; 0 is never used, it marks an empty Maglev slot.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BackendKey {
    /// Number of the backend, the same on every node.
    pub backend: u32,
}

/// `backends` value: the endpoint behind a number.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BackendValue {
    /// Network of the endpoint.
    pub vni: u32,
    /// Address of the endpoint in it.
    pub addr: Addr,
    /// Zero.
    pub flags: u32,
}

/// `maglev` key.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MaglevKey {
    /// [`ServiceValue::service`].
    pub service: u32,
}

/// `maglev` value: flow hash modulo [`MAGLEV_SIZE`] -> backend number, 0 for none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MaglevTable {
    /// Backend numbers.
    pub backends: [u32; MAGLEV_SIZE],
}

impl Default for MaglevTable {
    fn default() -> Self {
        Self {
            backends: [0; MAGLEV_SIZE],
        }
    }
}

/// `published` key.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PublishedKey {
    /// Published port in network byte order.
    pub port_be: u16,
    /// IP protocol (6 or 17).
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}

/// `published` value.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PublishedValue {
    /// Key of `maglev`; its backends are endpoints on the ingress network (or, for `mode=host`,
    /// local endpoints of any network).
    pub service: u32,
    /// Port the task listens on, network byte order.
    pub target_port_be: u16,
    /// Zero.
    pub pad: u16,
    /// Backends that take new flows; 0 refuses them.
    pub backend_count: u32,
    /// Zero.
    pub flags: u32,
}

/// `peers` key.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PeerKey {
    /// Underlay address (data path address) of the other node.
    pub node: Addr,
}

/// `peers` value.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PeerValue {
    /// Zero.
    pub flags: u32,
}

/// `local_addresses` key.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LocalAddressKey {
    /// An address of this node outside the overlay on which published ports answer.
    pub addr: Addr,
}

/// `local_addresses` value.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LocalAddressValue {
    /// Interface that carries it.
    pub ifindex: u32,
}

/// `meta` value, entry 0.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Meta {
    /// [`crate::layout::LAYOUT_HASH`] of the build that created the maps.
    pub layout_hash: u64,
    /// Counts the plans the agent has applied completely; what programs remember of the tables ([`crate::paths`]) is void
    /// after each.
    pub generation: u64,
    /// [`crate::layout::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`META_EVENTS`].
    pub flags: u32,
}

/// [`Meta::flags`]: write an [`Event`] for every drop.
pub const META_EVENTS: u32 = 1;

/// `vip_clients` value.
///
/// Only what has sent to a virtual address can receive an answer that must be translated back, so what
/// arrives for others (servers, for the most part) needs no look-up in `conntrack`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct VipClient {
    /// 1 from the first packet to a virtual address on; never reset, because an answer may take any time.
    pub used: u32,
}

/// Index in `vip_clients` of what is behind an interface. Several may share one: a needless look-up.
#[inline(always)]
pub const fn vip_client(ifindex: u32) -> u32 {
    ifindex & VIP_CLIENTS_MASK
}

const VIP_CLIENTS_MASK: u32 = 4_095;
const _: () = assert!(VIP_CLIENTS_MASK as usize + 1 == capacity::VIP_CLIENTS);
const _: () = assert!(capacity::VIP_CLIENTS.is_power_of_two());

/// `conntrack` key: the five-tuple of a packet as the program meets it, before translation.
///
/// A translated flow has two entries, one per direction; the packet that finds one re-creates the
/// other if it was evicted. ICMP echo stores the identifier in both ports.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FlowKey {
    /// Network the packet is in, or a reserved number: [`INGRESS_FORWARD_VNI`] for a client's packet
    /// to a published port, [`MASQUERADE_VNI`] for the outside half of a masqueraded flow.
    pub vni: u32,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, network byte order.
    pub sport_be: u16,
    /// Destination port, network byte order.
    pub dport_be: u16,
    /// IP protocol.
    pub proto: u8,
    /// [`FLOW_FORWARD`] or [`FLOW_REPLY`].
    pub direction: u8,
    /// Zero.
    pub pad: u16,
}

/// [`FlowKey::direction`]: as the flow's initiator sends.
pub const FLOW_FORWARD: u8 = 0;
/// [`FlowKey::direction`]: as the other side answers.
pub const FLOW_REPLY: u8 = 1;

/// `conntrack` value: what to write into a packet that matches the key.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FlowValue {
    /// `FLOW_KIND_*`.
    pub kind: u8,
    /// TCP: `FLOW_FIN_FORWARD`, `FLOW_FIN_REPLY`, `FLOW_RST`.
    pub state: u8,
    /// New port, network byte order: of the destination going forward, of the source in a reply.
    pub port_be: u16,
    /// New address, same role as the port.
    pub addr: Addr,
    /// Forward: network of the new destination. Reply of a masqueraded flow: the task's network.
    pub vni: u32,
    /// Reply of a published flow: underlay address of the node the client spoke to
    /// ([`Addr::NONE`]: this one).
    pub node: Addr,
    /// Key of `service_stats`; 0 for masqueraded flows.
    pub service: u32,
    /// When a packet last matched, seconds of the monotonic clock.
    pub seen_s: u32,
}

/// [`FlowValue::kind`]: to a virtual address.
pub const FLOW_KIND_VIP: u8 = 1;
/// [`FlowValue::kind`]: to a virtual address, chosen backend is the client itself; the other
/// side is seen as the gateway.
pub const FLOW_KIND_HAIRPIN: u8 = 2;
/// [`FlowValue::kind`]: from outside to a published port.
pub const FLOW_KIND_PUBLISHED: u8 = 3;
/// [`FlowValue::kind`]: from a task to the outside, behind the node's address.
pub const FLOW_KIND_MASQUERADE: u8 = 4;

/// [`FlowValue::state`]: the initiator has sent FIN.
pub const FLOW_FIN_FORWARD: u8 = 1;
/// [`FlowValue::state`]: the other side has sent FIN.
pub const FLOW_FIN_REPLY: u8 = 2;
/// [`FlowValue::state`]: either side has sent RST.
pub const FLOW_RST: u8 = 4;

/// `host_flows` key: what a socket of the node itself is really connected to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HostFlowKey {
    /// Socket cookie.
    pub cookie: u64,
    /// Address of the backend.
    pub addr: Addr,
    /// Port of the backend, network byte order.
    pub port_be: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 5],
}

/// `host_flows` value: what the process asked for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HostFlowValue {
    /// Address the process connected to.
    pub addr: Addr,
    /// Port the process connected to, network byte order.
    pub port_be: u16,
    /// Zero.
    pub pad: u16,
}

/// `service_stats` key.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServiceStatsKey {
    /// [`ServiceValue::service`].
    pub service: u32,
}

/// `service_stats` value, per CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServiceStats {
    /// Packets towards backends (a segmentation-offloaded packet counts once).
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Flows that were given a backend.
    pub new_flows: u64,
    /// Packets refused because there was no backend.
    pub no_backend: u64,
}

/// `drops` value, per CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DropCount {
    /// Packets dropped for the reason of this index.
    pub packets: u64,
}

/// `counters` value, per CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Counter {
    /// Packets (cgroup programs: calls).
    pub packets: u64,
    /// Bytes (cgroup programs: 0).
    pub bytes: u64,
}

/// A record of the `events` ring buffer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Event {
    /// Nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// [`crate::verdict::Program`] as number.
    pub program: u32,
    /// [`crate::verdict::DropReason`] as number.
    pub reason: u32,
    /// Interface the program ran on.
    pub ifindex: u32,
    /// Length of the packet.
    pub length: u32,
    /// The packet's five-tuple as far as it was parsed.
    pub flow: FlowKey,
    /// Zero.
    pub pad: u32,
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya's marker for plain data")]
mod pod {
    use super::{
        BackendKey, BackendValue, Counter, DropCount, EndpointKey, EndpointValue, Event, FlowKey,
        FlowValue, HostFlowKey, HostFlowValue, InterfaceKey, InterfaceValue, LocalAddressKey,
        LocalAddressValue, MaglevKey, MaglevTable, Meta, PeerKey, PeerValue, PublishedKey,
        PublishedValue, ServiceKey, ServiceStats, ServiceStatsKey, ServiceValue, SourceKey,
        SourceValue, VipClient,
    };

    macro_rules! pod {
        ($($name:ty),* $(,)?) => {$(
            // SAFETY: repr(C), integers and byte arrays only, no implicit padding (asserted in
            // `layout`), every bit pattern is valid.
            unsafe impl aya::Pod for $name {}
        )*};
    }

    pod!(
        BackendKey,
        BackendValue,
        Counter,
        DropCount,
        EndpointKey,
        EndpointValue,
        Event,
        FlowKey,
        FlowValue,
        HostFlowKey,
        HostFlowValue,
        VipClient,
        InterfaceKey,
        InterfaceValue,
        LocalAddressKey,
        LocalAddressValue,
        MaglevKey,
        MaglevTable,
        Meta,
        PeerKey,
        PeerValue,
        PublishedKey,
        PublishedValue,
        ServiceKey,
        ServiceStats,
        ServiceStatsKey,
        ServiceValue,
        SourceKey,
        SourceValue,
        crate::paths::PathIn,
        crate::paths::PathOut,
        crate::config::Config,
        crate::Addr,
    );
}
