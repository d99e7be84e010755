//! An agent is never told an older state than it was told before (`docs/consensus.md`, rule 7): a manager that was cut off and
//! believes that it leads would have it stop what was started since.

use swarm_core::id::NodeId;

/// A node is told the state at `index`; `last` is the latest it was told before.
pub(crate) fn check(last: &mut u64, node: &NodeId, index: u64) -> Result<(), String> {
    let before = *last;
    *last = before.max(index);
    if index >= before {
        return Ok(());
    }
    Err(format!(
        "node {node} is told the state at {index} after that at {before}"
    ))
}
