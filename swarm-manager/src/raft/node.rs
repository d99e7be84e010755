//! This manager as a member of Raft: `swarm_manager_replica` on tokio, over the sealed disk and gRPC.

use std::{io, ops::Deref, sync::Arc};

use swarm_core::{id::Random, time::Timestamp};
pub(crate) use swarm_manager_replica::Leadership;
use swarm_manager_replica::{Platform, config};
use swarm_proto::tls;

use super::{
    database::{StateDb, ThisMember},
    log_store,
    news::News,
    snapshot::SnapshotDir,
    transport::Transport,
    types::TypeConfig,
};
use crate::clock::{SystemRandom, now};

/// The state machine over the snapshots on disk.
pub(crate) type StateMachine = swarm_manager_replica::StateMachine<StateDb>;

/// What this manager runs on: tokio, the host's clock, the kernel's randomness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process;

impl Platform for Process {
    type Types = TypeConfig;
    type Machine = StateMachine;

    fn now(&self) -> Timestamp {
        now()
    }

    fn random(&self) -> impl Random {
        SystemRandom
    }
}

/// Raft could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The state on disk cannot be read.
    #[error("the state on disk cannot be read: {0}")]
    State(#[from] io::Error),
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] Box<openraft::ConfigError>),
    /// Refused by openraft.
    #[error("raft: {0}")]
    Raft(String),
}

/// This manager's consensus, with the disk it works on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RaftNode {
    node: swarm_manager_replica::RaftNode<Process>,
    this: ThisMember,
    db: StateDb,
    news: Arc<News>,
}

impl Deref for RaftNode {
    type Target = swarm_manager_replica::RaftNode<Process>;

    fn deref(&self) -> &Self::Target {
        &self.node
    }
}

impl RaftNode {
    /// Starts Raft with what is on disk.
    pub(crate) async fn start(
        db: &StateDb,
        this: ThisMember,
        identity: Arc<tls::Identity>,
    ) -> Result<Self, StartError> {
        let machine = StateMachine::open(db.clone())?;
        let store = machine.shared();
        store.hear_of_removed(&db.told_removed()?);
        let transport = Transport::new(Arc::clone(&identity), store.clone());
        let raft = openraft::Raft::new(
            this.raft_id,
            config()?,
            transport.clone(),
            log_store::open(db.clone())?,
            machine,
        )
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;
        let (id, member) = (this.raft_id, this.member.clone());
        let node = swarm_manager_replica::RaftNode::new(Process, raft, store, id, member).await;
        let node = node.map_err(|error| StartError::Raft(error.to_string()))?;
        let news = News::new(node.clone(), db.clone(), identity);
        transport.ask_for_news(&news);
        Ok(Self {
            node,
            this,
            db: db.clone(),
            news,
        })
    }

    /// Where arriving snapshots are written.
    pub(crate) fn snapshot_dir(&self) -> &SnapshotDir {
        self.db.snapshot_dir()
    }

    /// The state on disk.
    pub(crate) fn db(&self) -> &StateDb {
        &self.db
    }

    /// Who was removed while this manager was away.
    pub(crate) fn news(&self) -> &Arc<News> {
        &self.news
    }

    pub(crate) fn this(&self) -> &ThisMember {
        &self.this
    }
}
