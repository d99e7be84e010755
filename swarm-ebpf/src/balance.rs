//! Choice of a backend for a new flow: the look-ups around `swarm_common::lb`.

use swarm_common::lb;
use swarm_common::maps::{BackendKey, BackendValue, EndpointKey, EndpointValue, MaglevKey};
use swarm_common::verdict::DropReason;

use crate::maps;

/// The backend a flow's hash stands for.
#[inline(always)]
pub fn choose(service: u32, hash: u32) -> Result<&'static BackendValue, DropReason> {
    let table = maps::maglev(&MaglevKey { service }).ok_or(DropReason::NoBackend)?;
    // Opaque, or the compiler folds the scaling into the shift and the verifier loses the bound.
    let slot = core::hint::black_box(lb::maglev_slot(hash)) as usize;
    // SAFETY: `maglev_slot` is below the table's length; the verifier proves it again.
    let backend = unsafe { *table.backends.get_unchecked(slot) };
    if backend == 0 {
        return Err(DropReason::NoBackend);
    }
    maps::backend(&BackendKey { backend }).ok_or(DropReason::NoBackend)
}

/// Where a backend is.
#[inline(always)]
pub fn locate(backend: &BackendValue) -> Result<&'static EndpointValue, DropReason> {
    maps::endpoint(&EndpointKey {
        vni: backend.vni,
        addr: backend.addr,
    })
    .ok_or(DropReason::NoBackend)
}
