//! Refusals of user requests: a gRPC-like code, which the Engine API maps to an HTTP status, and a text for people.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// Docker's text for a cluster that cannot decide.
pub const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";

/// Whose fault a refusal is and what the caller may do; the names are gRPC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// The request cannot be right in any state of the cluster.
    InvalidArgument,
    /// No such object.
    NotFound,
    /// The name or port is taken.
    AlreadyExists,
    /// The caller's role may not do this.
    PermissionDenied,
    /// The caller did not prove who it is.
    Unauthenticated,
    /// The cluster's state does not allow it now.
    FailedPrecondition,
    /// The version is stale; read again and retry. SwarmKit has no code of its own for it.
    Aborted,
    /// Not offered.
    Unimplemented,
    /// No leader, locked, or not a manager.
    Unavailable,
    /// Took too long.
    DeadlineExceeded,
    /// Everything else, kept as SwarmKit's "Unknown".
    Unknown,
}

impl Code {
    /// The name as SwarmKit's texts print it after `code = `.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::PermissionDenied => "PermissionDenied",
            Self::Unauthenticated => "Unauthenticated",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Unimplemented => "Unimplemented",
            Self::Unavailable => "Unavailable",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Aborted | Self::Unknown => "Unknown",
        }
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct ControlError {
    /// Whose fault.
    pub code: Code,
    /// What was wrong and what to do, without SwarmKit's `rpc error: ...` prefix.
    pub message: String,
}

impl ControlError {
    /// A refusal with this code and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// SwarmKit's form of the text, which Docker passes on to users.
    pub fn rpc_text(&self) -> String {
        alloc::format!(
            "rpc error: code = {} desc = {}",
            self.code.name(),
            self.message
        )
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
