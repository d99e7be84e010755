//! What is written: objects of any kind, changes to them, the transaction that one Raft entry carries, and the events
//! that applying it gives.

use alloc::{string::String, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    control::{Code, ControlError},
    id::{ClusterId, NetworkId, NodeId, ServiceId, TaskId},
    model::{Cluster, Meta, Network, Node, Service, Task, Version},
    time::Timestamp,
};

/// Kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The cluster.
    Cluster,
    /// A node.
    Node,
    /// A service.
    Service,
    /// A task.
    Task,
    /// A network.
    Network,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Service => "service",
            Self::Task => "task",
            Self::Network => "network",
        })
    }
}

/// Identifier of an object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ObjectId {
    /// The cluster.
    Cluster(ClusterId),
    /// A node.
    Node(NodeId),
    /// A service.
    Service(ServiceId),
    /// A task.
    Task(TaskId),
    /// A network.
    Network(NetworkId),
}

impl ObjectId {
    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cluster(_) => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Service(_) => Kind::Service,
            Self::Task(_) => Kind::Task,
            Self::Network(_) => Kind::Network,
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = match self {
            Self::Cluster(id) => id.as_str(),
            Self::Node(id) => id.as_str(),
            Self::Service(id) => id.as_str(),
            Self::Task(id) => id.as_str(),
            Self::Network(id) => id.as_str(),
        };
        write!(f, "{} {id}", self.kind())
    }
}

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "objects are moved once, from a log entry into the tables"
)]
pub enum Object {
    /// The cluster.
    Cluster(Cluster),
    /// A node.
    Node(Node),
    /// A service.
    Service(Service),
    /// A task.
    Task(Task),
    /// A network.
    Network(Network),
}

impl Object {
    /// The object's identifier.
    pub fn id(&self) -> ObjectId {
        match self {
            Self::Cluster(object) => ObjectId::Cluster(object.id.clone()),
            Self::Node(object) => ObjectId::Node(object.id.clone()),
            Self::Service(object) => ObjectId::Service(object.id.clone()),
            Self::Task(object) => ObjectId::Task(object.id.clone()),
            Self::Network(object) => ObjectId::Network(object.id.clone()),
        }
    }

    /// Version and times.
    pub fn meta(&self) -> Meta {
        match self {
            Self::Cluster(object) => object.meta,
            Self::Node(object) => object.meta,
            Self::Service(object) => object.meta,
            Self::Task(object) => object.meta,
            Self::Network(object) => object.meta,
        }
    }

    pub(super) fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Self::Cluster(object) => &mut object.meta,
            Self::Node(object) => &mut object.meta,
            Self::Service(object) => &mut object.meta,
            Self::Task(object) => &mut object.meta,
            Self::Network(object) => &mut object.meta,
        }
    }
}

/// One write. `expect` is the version the writer saw: `None` writes blindly, version 0 demands that the object does not
/// exist yet, anything else must be the object's current version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "most changes are puts; boxing would cost an allocation for each"
)]
pub enum Change {
    /// Stores an object as a whole.
    Put {
        /// The object; its [`Meta`] is set by the store.
        object: Object,
        /// The version the writer saw.
        expect: Option<Version>,
    },
    /// Forgets an object; removing what is not there is refused unless `expect` is `None`.
    Remove {
        /// Which object.
        id: ObjectId,
        /// The version the writer saw.
        expect: Option<Version>,
    },
}

/// Changes that are applied together or not at all: the payload of one Raft entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The proposer's clock; becomes the objects' times.
    pub now: Timestamp,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

impl Transaction {
    /// A transaction without changes.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            changes: Vec::new(),
        }
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds an object that must not exist yet.
    #[must_use]
    pub fn create(mut self, object: Object) -> Self {
        self.changes.push(Change::Put {
            object,
            expect: Some(Version(0)),
        });
        self
    }

    /// Adds a new state of an object whose current version is `expect`.
    #[must_use]
    pub fn put(mut self, object: Object, expect: Version) -> Self {
        self.changes.push(Change::Put {
            object,
            expect: Some(expect),
        });
        self
    }

    /// Adds the removal of an object whose current version is `expect`.
    #[must_use]
    pub fn remove(mut self, id: ObjectId, expect: Version) -> Self {
        self.changes.push(Change::Remove {
            id,
            expect: Some(expect),
        });
        self
    }
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "short-lived; handed to watchers right after apply"
)]
pub enum Event {
    /// An object was made.
    Created(Object),
    /// An object was changed.
    Updated {
        /// Before.
        old: Object,
        /// After.
        new: Object,
    },
    /// An object is gone.
    Removed(Object),
}

/// Why a transaction was refused; nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote the object first.
    #[error("{id} is at version {}, not {}", found.0, expected.0)]
    Stale {
        /// The object.
        id: ObjectId,
        /// What the writer saw.
        expected: Version,
        /// What is stored; 0 if the object is not there.
        found: Version,
    },
    /// Another object of the kind has the name.
    #[error("{kind} {name} already exists")]
    NameTaken {
        /// The kind.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// What the request needs of other objects was true when it was checked, but another one was committed first.
    #[error(transparent)]
    Overtaken(ControlError),
    /// A second cluster object.
    #[error("the store holds cluster {found} already")]
    SecondCluster {
        /// The cluster that is there.
        found: ClusterId,
    },
}

impl From<StoreError> for ControlError {
    /// The texts SwarmKit gives for a lost race.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stale { .. } => Self::new(Code::Aborted, "update out of sequence"),
            StoreError::NameTaken { kind, name } => Self::new(
                Code::AlreadyExists,
                alloc::format!(
                    "name conflicts with an existing object: {kind} {name} already exists"
                ),
            ),
            StoreError::Overtaken(refusal) => refusal,
            StoreError::SecondCluster { .. } => {
                Self::new(Code::FailedPrecondition, alloc::format!("{error}"))
            }
        }
    }
}
