//! The manager's instance of openraft, on the deterministic runtime.

use std::{fmt, io};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use swarm_core::{control::ControlError, store::Transaction};

openraft::declare_raft_types!(
    /// Our instance of openraft.
    pub(crate) TypeConfig:
        D = Command,
        R = Reply,
        Node = Member,
        AsyncRuntime = openraft_rt_sim::SimRuntime,
);

pub(crate) type RaftId = u64;
pub(crate) type Raft = openraft::Raft<TypeConfig, super::observed::Observed>;
pub(crate) type Reply = Result<(), ControlError>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;

/// The payload of a log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Command(pub(crate) Transaction);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes", self.0.changes.len())
    }
}

/// A manager as the others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) node_id: String,
    /// Number of its host.
    pub(crate) addr: usize,
}

/// To bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// From bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    ciborium::from_reader(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}
