//! The short way for a pair of addresses that this CPU has met before. What an entry means and when it
//! counts is in `swarm_common::paths`.

use aya_ebpf::helpers::bpf_jiffies64;
use swarm_common::Addr;
use swarm_common::maps::EndpointValue;
use swarm_common::paths::{PathIn, PathOut, Stamp, moment};

use crate::maps::{META, PATHS_IN, PATHS_OUT};

/// What an entry written now is worth; to be read before the tables.
#[inline(always)]
pub fn stamp() -> Stamp {
    Stamp {
        generation: META.get(0).map_or(0, |meta| meta.generation),
        // SAFETY: no arguments.
        moment: moment(unsafe { bpf_jiffies64() }),
    }
}

/// Where a packet of this pair went last time, if that still counts.
#[inline(always)]
pub fn out(stamp: Stamp, ifindex: u32, src: Addr, dst: Addr) -> Option<&'static PathOut> {
    PATHS_OUT
        .get(PathOut::index(ifindex, src, dst))
        .filter(|path| path.is_of(stamp, ifindex, src, dst))
}

/// Remembers where packets of this pair go.
#[inline(always)]
pub fn remember_out(path: &PathOut) {
    let index = PathOut::index(path.ifindex, path.src, path.dst);
    if let Some(slot) = PATHS_OUT.get_ptr_mut(index) {
        // SAFETY: this CPU's own element; programs of one CPU do not interrupt each other here.
        unsafe { *slot = *path };
    }
}

/// Where a packet of this kind went last time, if that still counts.
#[inline(always)]
pub fn arriving(stamp: Stamp, node: Addr, vni: u32, dst: Addr) -> Option<&'static EndpointValue> {
    PATHS_IN
        .get(PathIn::index(node, vni, dst))
        .filter(|path| path.is_of(stamp, node, vni, dst))
        .map(|path| &path.endpoint)
}

/// Remembers where packets of this kind go.
#[inline(always)]
pub fn remember_arriving(path: &PathIn) {
    let index = PathIn::index(path.node, path.vni, path.dst);
    if let Some(slot) = PATHS_IN.get_ptr_mut(index) {
        // SAFETY: this CPU's own element; programs of one CPU do not interrupt each other here.
        unsafe { *slot = *path };
    }
}
