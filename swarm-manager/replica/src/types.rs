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

/// Our instances of openraft, made by `declare_raft_types!`. They differ in their runtime only.
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

#[cfg(test)]
mod tests {
    use ciborium::Value;
    use swarm_core::{
        ca::RemovedNodes,
        control::{InitRequest, NewNode, bootstrap},
        id::Random,
        model::{Availability, CertificateIssuer, Cluster, ClusterSpec, Role},
        store::{Change, Object},
        time::Timestamp,
    };

    use super::*;

    struct Zeros;

    impl Random for Zeros {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    fn cluster() -> Cluster {
        let request = InitRequest {
            spec: ClusterSpec::default(),
            default_address_pools: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            root_cert_pem: "root".to_owned(),
            root_key_pem: String::new(),
            root_cert_digest: "ab".repeat(32),
            root_issuer: CertificateIssuer {
                subject: vec![1],
                public_key: vec![2],
            },
            node: NewNode {
                id: swarm_core::id::NodeId::random(&mut Zeros),
                role: Role::Manager,
                availability: Availability::Active,
                addr: None,
                manager: None,
            },
        };
        let made = bootstrap(request, Timestamp(1), &mut Zeros).unwrap();
        let mut objects = made.changes.into_iter().filter_map(|change| match change {
            Change::Put {
                object: Object::Cluster(cluster),
                ..
            } => Some(cluster),
            Change::Put { .. } | Change::Remove { .. } => None,
        });
        objects.next().unwrap()
    }

    fn without(value: &mut Value, path: &[&str]) {
        let Value::Map(fields) = value else {
            panic!("{path:?} is in no map");
        };
        match path {
            [] => {}
            [last] => fields.retain(|(name, _)| name.as_text() != Some(*last)),
            [first, rest @ ..] => {
                let mut found = fields
                    .iter_mut()
                    .filter(|(name, _)| name.as_text() == Some(*first));
                without(&mut found.next().unwrap().1, rest);
            }
        }
    }

    /// What was written before a field was there is read as if it had been empty.
    #[test]
    fn a_cluster_of_an_earlier_build_is_read() {
        let mut expected = cluster();
        let mut written: Value = decode(&encode(&expected).unwrap()).unwrap();
        for path in [
            &["removed"][..],
            &["root_ca", "issuer"],
            &["root_ca", "rotation"],
            &["lock"],
        ] {
            without(&mut written, path);
        }
        expected.root_ca.issuer = CertificateIssuer::default();
        expected.removed = RemovedNodes::default();
        let read: Cluster = decode(&encode(&written).unwrap()).unwrap();
        assert_eq!(read, expected);
    }
}
