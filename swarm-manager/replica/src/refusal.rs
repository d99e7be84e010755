//! What openraft refuses, in the words of operators.

use openraft::errors::{
    ChangeMembershipError, ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError,
};
use swarm_core::control::{Code, ControlError, NO_LEADER, Reason};

use crate::types::Types;

pub(crate) fn too_late() -> ControlError {
    // Not `no_leader`: what was sent may still be written.
    ControlError::new(Code::DeadlineExceeded, NO_LEADER).because(Reason::NoLeader)
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
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ControlError::no_leader(),
        RaftError::Fatal(error) => ControlError::new(Code::Unavailable, format!("raft: {error}")),
    }
}

fn elsewhere<C: Types>(forward: &ForwardToLeader<C>) -> ControlError {
    match &forward.leader_node {
        Some(member) => ControlError::new(
            Code::Unavailable,
            format!("the leader is now {} at {}", member.node_id, member.addr),
        )
        .because(Reason::LeaderMoved),
        None => ControlError::no_leader(),
    }
}
