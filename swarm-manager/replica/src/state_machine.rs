//! The state machine: `swarm_core::store::Store` in memory. Entries after the last snapshot are replayed from the log at a
//! start. Readers share the store; whoever waits for changes watches the applied index.

use std::{fmt::Debug, io};

use futures::{Stream, TryStreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use swarm_core::{
    ca::RemovedNodes,
    control::ControlError,
    store::{Change, ObjectId, Store, Transaction},
};

use crate::{
    store::SharedStore,
    types::{LogId, Reply, Snapshot, SnapshotMeta, StoredMembership, Types},
};

/// Where snapshots are kept, and what must be known before the log is replayed. What is written is durable before it returns.
/// Cheap to clone.
pub trait Snapshots: Clone + Debug + Send + Sync + 'static {
    /// A snapshot's content.
    type Data: Send + 'static;

    /// The newest snapshot that counts.
    fn newest(&self) -> io::Result<Option<(SnapshotMeta, Self::Data)>>;

    /// Reads a content as a whole and checks it.
    fn load(&self, data: &Self::Data) -> io::Result<Store>;

    /// Writes a store as the newest snapshot and keeps so many older ones.
    fn write(
        &self,
        meta: SnapshotMeta,
        store: Store,
        keep_old: u64,
    ) -> impl Future<Output = io::Result<Self::Data>> + Send;

    /// Makes a content that arrived the newest snapshot, once all of it was read; gives its store.
    fn install(
        &self,
        meta: SnapshotMeta,
        data: Self::Data,
        keep_old: u64,
    ) -> impl Future<Output = io::Result<Store>> + Send;

    /// The removed nodes that were noted last.
    fn removed(&self) -> io::Result<RemovedNodes>;

    /// Notes the removed nodes as they are when it is this write's turn: of two, the later one has what the earlier one had.
    fn note_removed(
        &self,
        current: impl FnOnce() -> RemovedNodes + Send + 'static,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

/// What openraft drives.
#[derive(Debug)]
pub struct StateMachine<S> {
    snapshots: S,
    shared: SharedStore,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

impl<S: Snapshots> StateMachine<S> {
    /// From the last snapshot, if there is one.
    pub fn open(snapshots: S) -> io::Result<Self> {
        let (meta, store) = match snapshots.newest()? {
            Some((meta, data)) => (meta, snapshots.load(&data)?),
            None => (SnapshotMeta::default(), Store::new()),
        };
        let removed = snapshots.removed()?;
        Ok(Self {
            snapshots,
            shared: SharedStore::new(store, removed),
            last_applied: meta.last_log_id,
            membership: meta.last_membership,
        })
    }

    /// The store as others read it.
    pub fn shared(&self) -> SharedStore {
        self.shared.clone()
    }

    /// Changes the store. A removal is noted on disk before anybody hears that it is applied: after a restart the store is that of
    /// the last snapshot, and who was removed since then must not be listened to until the log is replayed.
    async fn change(&self, index: u64, transaction: Transaction) -> io::Result<Reply> {
        let removes = removes_nodes(&transaction).then_some(transaction.now);
        let mut reply = Ok(());
        self.shared.write(|store| {
            let applied = store.apply(index, transaction);
            reply = applied.map(drop).map_err(ControlError::from);
        });
        if let Some(now) = removes
            && reply.is_ok()
            && self.shared.removal_is_news(now)
        {
            let shared = self.shared.clone();
            let noted = self.snapshots.note_removed(move || shared.removed_nodes());
            noted.await?;
        }
        Ok(reply)
    }
}

fn removes_nodes(transaction: &Transaction) -> bool {
    transaction.changes.iter().any(|change| match change {
        Change::Remove { id, .. } => matches!(id, ObjectId::Node(_)),
        Change::Put { .. } => false,
    })
}

impl<C: Types, S: Snapshots> RaftStateMachine<C> for StateMachine<S> {
    type SnapshotData = S::Data;
    type SnapshotBuilder = Builder<S>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let index = entry.log_id.index;
            self.last_applied = Some(entry.log_id);
            let mut reply = Ok(());
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => {
                    reply = self.change(index, command.0).await?;
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            self.shared.notify(index);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<S> {
        Builder {
            snapshots: self.snapshots.clone(),
            store: self.shared.read().clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
            },
            keep_old: self.shared.keep_old_snapshots(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: S::Data) -> io::Result<()> {
        let keep_old = self.shared.keep_old_snapshots();
        let installed = self.snapshots.install(meta.clone(), data, keep_old);
        let store = installed.await?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.shared.write(|current| *current = store);
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.shared.notify(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<S::Data>>> {
        let newest = self.snapshots.newest()?;
        Ok(newest.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes the state of the moment it was made to disk, while entries go on being applied.
#[derive(Debug)]
pub struct Builder<S> {
    snapshots: S,
    /// Shares its objects with the store that goes on.
    store: Store,
    meta: SnapshotMeta,
    keep_old: u64,
}

impl<C: Types, S: Snapshots> RaftSnapshotBuilder<C> for Builder<S> {
    type SnapshotData = S::Data;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<S::Data>> {
        let (meta, store) = (self.meta.clone(), self.store.clone());
        let snapshot = self.snapshots.write(meta.clone(), store, self.keep_old);
        Ok(Snapshot {
            meta,
            snapshot: snapshot.await?,
        })
    }
}
