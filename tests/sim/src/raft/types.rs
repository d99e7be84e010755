//! The managers' instance of openraft, on the deterministic runtime.

use swarm_manager_replica::types::Reply;
pub(crate) use swarm_manager_replica::types::{
    Command, Entry, LogId, Member, RaftId, SnapshotMeta, StoredMembership, Vote, decode, encode,
};

openraft::declare_raft_types!(
    /// Our instance of openraft.
    pub(crate) TypeConfig:
        D = Command,
        R = Reply,
        Node = Member,
        AsyncRuntime = openraft_rt_sim::SimRuntime,
);
