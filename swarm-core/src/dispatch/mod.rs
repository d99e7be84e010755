//! What each node must run and know: assignments as a snapshot and numbered deltas. Sessions and heartbeats are the
//! leader's (`leader::Leader`).

mod assignment;
mod assignments_for;
mod diff;
mod recent;

pub use assignment::{
    Assignment, AssignmentKey, Assignments, Delta, EndpointInfo, Peer, ServiceInfo, tasks,
};
pub use assignments_for::assignments_for;
pub(crate) use assignments_for::{Affected, affected_nodes};
pub use diff::{apply, diff, key_of, snapshot};
pub use recent::RecentChanges;

#[cfg(test)]
mod tests;
