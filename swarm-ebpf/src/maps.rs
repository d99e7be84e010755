//! The maps, typed with `swarm-common`. Who writes what is said there.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use aya_ebpf::macros::btf_map;
use core::ptr;
use swarm_common::maps::{
    BackendKey, BackendValue, Counter, DropCount, EndpointKey, EndpointValue, Event, FlowKey,
    FlowValue, HostFlowKey, HostFlowValue, InterfaceKey, InterfaceValue, LocalAddressKey,
    LocalAddressValue, MaglevKey, MaglevTable, Meta, PeerKey, PeerValue, PublishedKey,
    PublishedValue, ServiceKey, ServiceStats, ServiceStatsKey, ServiceValue, SourceKey,
    SourceValue, VipClient, capacity, vip_client,
};
use swarm_common::paths::{self, PathIn, PathOut};
use swarm_common::verdict;

/// Memory only for entries that exist: these maps are sized for large clusters.
const SPARSE: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map(name = "endpoints")]
pub static ENDPOINTS: HashMap<EndpointKey, EndpointValue, { capacity::ENDPOINTS }, SPARSE> =
    HashMap::new();

#[btf_map(name = "interfaces")]
pub static INTERFACES: HashMap<InterfaceKey, InterfaceValue, { capacity::INTERFACES }, SPARSE> =
    HashMap::new();

#[btf_map(name = "sources")]
pub static SOURCES: HashMap<SourceKey, SourceValue, { capacity::SOURCES }, SPARSE> = HashMap::new();

#[btf_map(name = "services")]
pub static SERVICES: HashMap<ServiceKey, ServiceValue, { capacity::SERVICES }, SPARSE> =
    HashMap::new();

#[btf_map(name = "backends")]
pub static BACKENDS: HashMap<BackendKey, BackendValue, { capacity::BACKENDS }, SPARSE> =
    HashMap::new();

#[btf_map(name = "maglev")]
pub static MAGLEV: HashMap<MaglevKey, MaglevTable, { capacity::MAGLEV }, SPARSE> = HashMap::new();

#[btf_map(name = "published")]
pub static PUBLISHED: HashMap<PublishedKey, PublishedValue, { capacity::PUBLISHED }, SPARSE> =
    HashMap::new();

#[btf_map(name = "peers")]
pub static PEERS: HashMap<PeerKey, PeerValue, { capacity::PEERS }, SPARSE> = HashMap::new();

#[btf_map(name = "local_addresses")]
pub static LOCAL_ADDRESSES: HashMap<
    LocalAddressKey,
    LocalAddressValue,
    { capacity::LOCAL_ADDRESSES },
    SPARSE,
> = HashMap::new();

#[btf_map(name = "meta")]
pub static META: Array<Meta, 1> = Array::new();

#[btf_map(name = "conntrack")]
pub static CONNTRACK: LruHashMap<FlowKey, FlowValue, { capacity::CONNTRACK }> = LruHashMap::new();

#[btf_map(name = "vip_clients")]
pub static VIP_CLIENTS: Array<VipClient, { capacity::VIP_CLIENTS }> = Array::new();

#[btf_map(name = "paths_out")]
pub static PATHS_OUT: PerCpuArray<PathOut, { paths::CAPACITY }> = PerCpuArray::new();

#[btf_map(name = "paths_in")]
pub static PATHS_IN: PerCpuArray<PathIn, { paths::CAPACITY }> = PerCpuArray::new();

#[btf_map(name = "host_flows")]
pub static HOST_FLOWS: LruHashMap<HostFlowKey, HostFlowValue, { capacity::HOST_FLOWS }> =
    LruHashMap::new();

#[btf_map(name = "service_stats")]
pub static SERVICE_STATS: PerCpuHashMap<
    ServiceStatsKey,
    ServiceStats,
    { capacity::SERVICE_STATS },
    SPARSE,
> = PerCpuHashMap::new();

#[btf_map(name = "drops")]
pub static DROPS: PerCpuArray<DropCount, { verdict::DROPS as usize }> = PerCpuArray::new();

#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<Counter, { verdict::COUNTERS as usize }> = PerCpuArray::new();

#[btf_map(name = "events")]
pub static EVENTS: RingBuf<Event, { capacity::EVENTS_BYTES }> = RingBuf::new();

/// Whether what is behind an interface has ever sent to a virtual address.
#[inline(always)]
pub fn is_vip_client(ifindex: u32) -> bool {
    VIP_CLIENTS
        .get(vip_client(ifindex))
        .is_some_and(|client| client.used != 0)
}

/// Notes that what is behind an interface sends to virtual addresses.
#[inline(always)]
pub fn note_vip_client(ifindex: u32) {
    if let Some(client) = VIP_CLIENTS.get_ptr_mut(vip_client(ifindex)) {
        // SAFETY: inside the map's value; volatile, as other CPUs read and write it meanwhile, all of them the same value.
        let used = unsafe { &raw mut (*client).used };
        // Only once: the line is read by all CPUs.
        // SAFETY: as above.
        if unsafe { ptr::read_volatile(used) } == 0 {
            // SAFETY: as above.
            unsafe { ptr::write_volatile(used, 1) };
        }
    }
}

macro_rules! getter {
    ($(#[$meta:meta])* $name:ident, $map:ident, $key:ty, $value:ty) => {
        $(#[$meta])*
        #[inline(always)]
        pub fn $name(key: &$key) -> Option<&'static $value> {
            // SAFETY: the value is plain data and lives until the program ends (freed after an RCU
            // grace period); a concurrent update swaps in another element.
            unsafe { $map.get(key) }
        }
    };
}

getter!(endpoint, ENDPOINTS, EndpointKey, EndpointValue);
getter!(interface, INTERFACES, InterfaceKey, InterfaceValue);
getter!(source, SOURCES, SourceKey, SourceValue);
getter!(service, SERVICES, ServiceKey, ServiceValue);
getter!(backend, BACKENDS, BackendKey, BackendValue);
getter!(maglev, MAGLEV, MaglevKey, MaglevTable);
getter!(published, PUBLISHED, PublishedKey, PublishedValue);
getter!(peer, PEERS, PeerKey, PeerValue);
getter!(
    local_address,
    LOCAL_ADDRESSES,
    LocalAddressKey,
    LocalAddressValue
);
getter!(host_flow, HOST_FLOWS, HostFlowKey, HostFlowValue);
