//! What users ask of the cluster: each request is checked against the store and becomes a transaction or a refusal.
//! Texts are Docker's, because people and scripts know them. Nothing here decides placement or addresses: that is the
//! leader's, which looks at the state these requests leave behind.

mod bootstrap;
mod cluster;
mod error;
mod filter;
mod lookup;
mod members;
mod network;
mod node;
mod quorum;
mod service;
mod skew;
mod validate;

pub use bootstrap::{InitRequest, bootstrap};
pub use cluster::{ClusterUpdate, RootChange, TokenRotation, rotate_token, update_cluster};
pub use error::{Code, ControlError, NO_LEADER, Reason};
pub use filter::{
    NetworkFilter, NodeFilter, ServiceFilter, TaskFilter, list_networks, list_nodes, list_services,
    list_tasks, parse_desired_state,
};
pub use lookup::{find_network, find_node, find_service, find_task};
pub use members::{MemberFix, RaftMember, UnreadableMember, forget_newcomer, member_fixes};
pub(crate) use network::second_ingress;
pub use network::{create_network, remove_network};
pub use node::{NewNode, add_node, force_new_cluster, remove_node, set_manager, update_node};
pub use quorum::check_quorum_without;
pub(crate) use quorum::only_member;
pub use service::{create_service, remove_service, update_service};
pub use skew::check_clock;

use crate::model::{Meta, Version};

/// Refuses a request that was made from an older state than the current one.
fn check_version(seen: Version, current: Meta) -> Result<(), ControlError> {
    if seen == current.version {
        Ok(())
    } else {
        Err(ControlError::new(Code::Aborted, "update out of sequence"))
    }
}

#[cfg(test)]
mod tests;
