//! The types openraft is instantiated with, and their one encoding: CBOR with field names, so that a field may be added.

use std::{fmt, io};

use openraft::{EntryPayload, RaftTypeConfig, impls, impls::leader_id_adv};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use swarm_core::{control::ControlError, store::Transaction};

/// Number of a Raft member; never used again for another one.
pub type RaftId = u64;
/// What applying an entry gave.
pub type Reply = Result<(), ControlError>;
/// Term and candidate.
pub type LeaderId = leader_id_adv::LeaderId<u64, RaftId>;
/// See openraft.
pub type Vote = impls::Vote<LeaderId>;
/// See openraft.
pub type LogId = openraft::LogId<LeaderId>;
/// What an entry holds.
pub type Payload = EntryPayload<Command, RaftId, Member>;
/// See openraft.
pub type Entry = openraft::Entry<LeaderId, Payload>;
/// See openraft.
pub type Membership = openraft::Membership<RaftId, Member>;
/// See openraft.
pub type StoredMembership = openraft::StoredMembership<LeaderId, RaftId, Member>;
/// See openraft.
pub type SnapshotMeta = openraft::SnapshotMeta<LeaderId, RaftId, Member>;
/// A snapshot with its content.
pub type Snapshot<D> = openraft::Snapshot<LeaderId, RaftId, Member, D>;

/// Our instances of openraft. They differ in their runtime only.
pub trait Types:
    RaftTypeConfig<
        D = Command,
        R = Reply,
        NodeId = RaftId,
        Node = Member,
        Term = u64,
        LeaderId = LeaderId,
        Vote = Vote,
        Payload = Payload,
        Entry = Entry,
    >
{
}

impl<C> Types for C where
    C: RaftTypeConfig<
            D = Command,
            R = Reply,
            NodeId = RaftId,
            Node = Member,
            Term = u64,
            LeaderId = LeaderId,
            Vote = Vote,
            Payload = Payload,
            Entry = Entry,
        >
{
}

/// The payload of a log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Command(pub Transaction);

impl fmt::Display for Command {
    /// Not the changes themselves: they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes", self.0.changes.len())
    }
}

/// A manager as the others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its node; the name its certificate must carry.
    pub node_id: String,
    /// `address:port`.
    pub addr: String,
}

/// To bytes.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// From bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    ciborium::from_reader(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}
