//! What openraft refuses, in the words of operators.

use openraft::errors::{
    ChangeMembershipError, ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError,
};
use swarm_core::control::{Code, ControlError};

use crate::types::Types;

/// Docker's text for a cluster that cannot decide.
pub const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
/// How the text begins that names a new leader. Nothing was written when it is given.
pub const LEADER_MOVED: &str = "the leader is now";

pub(crate) fn too_late() -> ControlError {
    ControlError::new(Code::DeadlineExceeded, NO_LEADER)
}

pub(crate) fn refused<C: Types>(error: &RaftError<C, ClientWriteError<C>>) -> ControlError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => elsewhere(forward),
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ControlError::new(
            Code::Unavailable,
            "the leader changed while the request was written; look whether it took effect",
        ),
        // Another change is under way: the same request succeeds after it.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            error @ ChangeMembershipError::InProgress(_),
        )) => ControlError::new(Code::Unavailable, error.to_string()),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            ControlError::new(Code::FailedPrecondition, error.to_string())
        }
        RaftError::APIError(ClientWriteError::PreconditionFailed(error)) => {
            ControlError::new(Code::FailedPrecondition, error.to_string())
        }
        RaftError::Fatal(error) => ControlError::new(Code::Unavailable, format!("raft: {error}")),
    }
}

pub(crate) fn unreadable<C: Types>(error: &RaftError<C, LinearizableReadError<C>>) -> ControlError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => elsewhere(forward),
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
            ControlError::new(Code::Unavailable, NO_LEADER)
        }
        RaftError::Fatal(error) => ControlError::new(Code::Unavailable, format!("raft: {error}")),
    }
}

fn elsewhere<C: Types>(forward: &ForwardToLeader<C>) -> ControlError {
    match &forward.leader_node {
        Some(member) => ControlError::new(
            Code::Unavailable,
            format!("{LEADER_MOVED} {} at {}", member.node_id, member.addr),
        ),
        None => ControlError::new(Code::Unavailable, NO_LEADER),
    }
}
