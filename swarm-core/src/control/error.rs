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

/// What a refusal tells the program that asked beyond its code. What is done about a refusal depends on these two, never on its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Nobody leads, as far as is known there.
    NoLeader,
    /// Another manager leads.
    LeaderMoved,
    /// The node is not, or no longer, in the list of nodes.
    NotMember,
    /// The authority is not the one that the join token names.
    OtherAuthority,
    /// What was named may be one of several objects.
    Ambiguous,
    /// There is an ingress network, and there is never a second one.
    IngressPresent,
    /// This host's manager cannot have the port that it was to listen on.
    CannotListen,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoLeader,
        Self::LeaderMoved,
        Self::NotMember,
        Self::OtherAuthority,
        Self::Ambiguous,
        Self::IngressPresent,
        Self::CannotListen,
    ];

    /// The word for it on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoLeader => "no-leader",
            Self::LeaderMoved => "leader-moved",
            Self::NotMember => "not-member",
            Self::OtherAuthority => "other-authority",
            Self::Ambiguous => "ambiguous",
            Self::IngressPresent => "ingress-present",
            Self::CannotListen => "cannot-listen",
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
    /// What a program may do about it, where the code does not tell.
    #[serde(default)]
    pub reason: Option<Reason>,
}

impl ControlError {
    /// A refusal with this code and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
        }
    }

    /// The same for a reason that programs know.
    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// Nobody leads, and nothing was done.
    pub fn no_leader() -> Self {
        Self::new(Code::Unavailable, NO_LEADER).because(Reason::NoLeader)
    }

    /// Whether whoever was asked does not lead, and did nothing.
    pub fn is_not_leading(&self) -> bool {
        let elsewhere = matches!(self.reason, Some(Reason::NoLeader | Reason::LeaderMoved));
        elsewhere && self.code == Code::Unavailable
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
