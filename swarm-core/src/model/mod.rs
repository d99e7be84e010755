//! The object model: SwarmKit's objects, the user's specification (`*Spec`) apart from what we observed or decided.

pub mod cluster;
pub mod network;
pub mod node;
pub mod service;
mod subnet;
pub mod task;
pub mod transition;

use alloc::{collections::BTreeMap, string::String};

pub use cluster::*;
pub use network::*;
pub use node::*;
use serde::{Deserialize, Serialize};
pub use service::*;
pub use subnet::InvalidSubnet;
pub use task::*;

use crate::time::Timestamp;

/// Key-value labels; a map with a fixed order so that equal objects encode equally.
pub type Labels = BTreeMap<String, String>;

/// The version of an object: the Raft index of its last write. A writer names the version it saw and a stale one is
/// refused ("update out of sequence").
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

/// What every object carries. Set by the store on apply, never by a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Raft index of the last write.
    pub version: Version,
    /// When the object was first stored.
    pub created_at: Timestamp,
    /// When the object was last stored.
    pub updated_at: Timestamp,
}

/// The name and labels a user gives an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// Unique among the objects of a kind (nodes excepted).
    pub name: String,
    /// The user's labels.
    pub labels: Labels,
}
