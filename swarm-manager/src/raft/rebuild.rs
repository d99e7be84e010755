//! A cluster of one from what is on this disk: `swarm init --force-new-cluster` and `swarm-manager recover`. The new state is one
//! snapshot, made durable first; then one write replaces member, vote, log and snapshot together, so a crash leaves either the
//! old state or the new one.
//!
//! The member gets a new number. The others, should they return, know only the old one: what they send is refused, and they
//! cannot outvote this manager.

use std::{collections::BTreeMap, io, net::SocketAddr};

use openraft::{EntryPayload, Membership};
use swarm_core::{
    control::{self, ControlError},
    id::NodeId,
    model::ManagerStatus,
    store::Store,
    time::Timestamp,
};

use super::{
    database::{StateDb, ThisMember, key},
    snapshot::{self, Stored},
    types::{Entry, LogId, Member, RaftId, SnapshotMeta, StoredMembership, Vote},
};

/// Why no cluster of one can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    /// The disk.
    #[error("the state on disk: {0}")]
    State(#[from] io::Error),
    /// The state does not allow it.
    #[error("{0}")]
    Refused(#[from] ControlError),
}

/// The state that snapshot and log give.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) store: Store,
    pub(crate) membership: StoredMembership,
    /// The last entry in it.
    pub(crate) last: Option<LogId>,
}

impl Contents {
    /// The snapshot and the whole log behind it. Entries whose commit is not known are taken too: what was confirmed is
    /// among them.
    pub(crate) fn read(db: &StateDb) -> io::Result<Self> {
        let newest = db.snapshots()?.into_iter().next();
        Self::read_until(db, newest.as_ref(), u64::MAX)
    }

    /// One snapshot and the log behind it, up to and not including the entry `end`.
    pub(crate) fn read_until(
        db: &StateDb,
        snapshot: Option<&Stored>,
        end: u64,
    ) -> io::Result<Self> {
        let mut contents = match snapshot {
            Some(stored) => Self::of_snapshot(db, stored)?,
            None => Self::default(),
        };
        let start = contents.last.map_or(0, |id| id.index + 1);
        for entry in db.entries(start, end.max(start))? {
            contents.apply(entry);
        }
        Ok(contents)
    }

    /// A snapshot alone.
    pub(crate) fn of_snapshot(db: &StateDb, stored: &Stored) -> io::Result<Self> {
        let data = db.snapshot_dir().open(&stored.file)?;
        Ok(Self {
            store: snapshot::load_store(&data)?,
            membership: stored.meta.last_membership.clone(),
            last: stored.meta.last_log_id,
        })
    }

    fn apply(&mut self, entry: Entry) {
        let index = entry.log_id.index;
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(command) => {
                if let Err(refusal) = self.store.apply(index, command.0) {
                    tracing::debug!(index, %refusal, "refused, as it was then");
                }
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        }
        self.last = Some(entry.log_id);
    }

    /// The managers of the cluster.
    pub(crate) fn members(&self) -> impl Iterator<Item = (RaftId, &Member)> {
        let nodes = self.membership.membership().nodes();
        nodes.map(|(id, member)| (*id, member))
    }
}

/// The manager that is to be the only one.
#[derive(Clone, Debug)]
pub(crate) struct Survivor {
    pub(crate) raft_id: RaftId,
    pub(crate) node_id: NodeId,
    pub(crate) addr: SocketAddr,
    pub(crate) listen_addr: SocketAddr,
}

/// Replaces the state on disk by a cluster of one with the same objects. Raft must not run.
pub(crate) fn force_new_cluster(
    db: &StateDb,
    mut contents: Contents,
    survivor: &Survivor,
    now: Timestamp,
) -> Result<ThisMember, RebuildError> {
    let status = ManagerStatus::new(survivor.raft_id, survivor.addr);
    let transaction = control::force_new_cluster(&contents.store, &survivor.node_id, status, now)?;
    let (index, vote) = next_position(db, &contents);
    contents
        .store
        .apply(index, transaction)
        .map_err(ControlError::from)?;
    let vote = Vote::new(vote, survivor.raft_id);
    let log_id = LogId::new(vote.leader_id, index);
    let this = ThisMember {
        raft_id: survivor.raft_id,
        member: Member {
            node_id: survivor.node_id.to_string(),
            addr: survivor.addr.to_string(),
        },
        listen_addr: survivor.listen_addr,
    };
    let alone = BTreeMap::from([(this.raft_id, this.member.clone())]);
    let membership = Membership::from(alone);
    let meta = SnapshotMeta {
        last_log_id: Some(log_id),
        last_membership: StoredMembership::new(Some(log_id), membership),
    };
    let data = snapshot::write_file(db.snapshot_dir(), &contents.store)?;
    let stored = Stored {
        meta,
        file: data.info().clone(),
    };
    data.keep();
    db.replace(&this, &vote, &stored)?;
    db.snapshot_dir().remove_others(&[&stored.file]);
    Ok(this)
}

/// An index behind everything on disk, and a term above every one on disk that can be read.
fn next_position(db: &StateDb, contents: &Contents) -> (u64, u64) {
    let voted: Option<Vote> = db.meta(key::VOTE).ok().flatten();
    let purged: Option<LogId> = db.meta(key::PURGED).ok().flatten();
    let last = contents.last.max(purged);
    let term = last.map_or(0, |id| id.leader_id.term);
    let term = term.max(voted.map_or(0, |vote| vote.leader_id.term));
    (last.map_or(0, |id| id.index + 1), term + 1)
}
