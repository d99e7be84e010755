//! VXLAN network identifiers: given serially from 4096, used again only after the counter wraps.

use super::AllocationError;
use crate::{model::FIRST_VNI, store::Draft};

/// The last identifier given out; the ones above are reserved for the data path.
const LAST_VNI: u32 = 0x00ff_ffef;

/// Takes the next free identifier and moves the cluster's cursor behind it.
pub(super) fn take(draft: &mut Draft<'_>) -> Result<u32, AllocationError> {
    let mut cluster = draft.cluster().cloned().ok_or(AllocationError::NoVni)?;
    let span = LAST_VNI - FIRST_VNI + 1;
    let start = cluster.next_vni.clamp(FIRST_VNI, LAST_VNI) - FIRST_VNI;
    let mut candidates = (0..span).map(|step| FIRST_VNI + (start + step) % span);
    let vni = candidates
        .find(|vni| !draft.vni_taken(*vni))
        .ok_or(AllocationError::NoVni)?;
    cluster.next_vni = if vni == LAST_VNI { FIRST_VNI } else { vni + 1 };
    draft.put_cluster(cluster);
    Ok(vni)
}
