//! The managers' state machine with the simulation's eyes on it; and with the faults that change what is applied.

use std::{io, sync::Arc};

use futures::{Stream, TryStreamExt as _};
use openraft::{
    EntryPayload, OptionalSend,
    storage::{EntryResponder, RaftStateMachine},
};
use swarm_core::{
    ca::RemovedNodes,
    store::{Change, Object, Store, Transaction},
};
use swarm_manager_replica::{Builder, SharedStore, StateMachine, types::Snapshot};

use super::{
    database::StateDb,
    snapshot::SnapshotData,
    types::{Command, Entry, LogId, RaftId, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{
    ground::{Sabotage, lock},
    history::SharedHistory,
};

/// What is observed.
type Machine = StateMachine<StateDb>;

/// What openraft drives.
#[derive(Debug)]
pub(crate) struct Observed {
    machine: Machine,
    db: StateDb,
    member: RaftId,
    history: Arc<SharedHistory>,
    sabotage: Option<Sabotage>,
}

impl Observed {
    /// From what is on the disk.
    pub(crate) fn open(
        db: StateDb,
        member: RaftId,
        history: Arc<SharedHistory>,
        sabotage: Option<Sabotage>,
    ) -> io::Result<Self> {
        let machine = Machine::open(db.clone())?;
        Ok(Self {
            machine,
            db,
            member,
            history,
            sabotage,
        })
    }

    pub(crate) fn shared(&self) -> SharedStore {
        self.machine.shared()
    }

    /// The machine as openraft sees it.
    fn inner(
        &mut self,
    ) -> &mut impl RaftStateMachine<
        TypeConfig,
        SnapshotData = SnapshotData,
        SnapshotBuilder = Builder<StateDb>,
    > {
        &mut self.machine
    }

    /// An entry as it is applied here and on every other member.
    fn sabotaged(&self, mut entry: Entry) -> Entry {
        if let (Some(Sabotage::AddressTwice), EntryPayload::Normal(command)) =
            (self.sabotage, &mut entry.payload)
        {
            give_address_twice(&mut command.0, &self.shared().read());
        }
        if let (Some(Sabotage::RemovalsForgotten), EntryPayload::Normal(command)) =
            (self.sabotage, &mut entry.payload)
        {
            forget_removals(&mut command.0);
        }
        entry
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.db.is_alive() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::BrokenPipe,
            "the process is dead",
        ))
    }
}

impl RaftStateMachine<TypeConfig> for Observed {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder<StateDb>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.inner().applied_state().await
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.check_alive()?;
            let entry = self.sabotaged(entry);
            let id = entry.log_id;
            let command: Option<&Command> = match &entry.payload {
                EntryPayload::Normal(command) => Some(command),
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            };
            let is_normal = command.is_some();
            lock(&self.history.inner).applied(self.member, id, command);
            let one = futures::stream::iter([Ok((entry, responder))]);
            self.inner().apply(one).await?;
            if is_normal {
                let shared = self.machine.shared();
                let store = shared.read();
                lock(&self.history.inner).changed(self.member, &store);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<StateDb> {
        {
            let shared = self.machine.shared();
            lock(&self.history.inner).whole_state(self.member, &shared.read());
        }
        self.inner().get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        self.check_alive()?;
        self.inner().install_snapshot(meta, data).await?;
        let shared = self.machine.shared();
        lock(&self.history.inner).whole_state(self.member, &shared.read());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<SnapshotData>>> {
        self.inner().get_current_snapshot().await
    }
}

/// What a cluster would do that lets its certificates speak for themselves.
fn forget_removals(transaction: &mut Transaction) {
    for change in &mut transaction.changes {
        if let Change::Put {
            object: Object::Cluster(cluster),
            ..
        } = change
        {
            cluster.removed = RemovedNodes::default();
        }
    }
}

/// What an allocator would do that forgets what it has given.
fn give_address_twice(transaction: &mut Transaction, store: &Store) {
    for change in &mut transaction.changes {
        let Change::Put {
            object: Object::Task(task),
            ..
        } = change
        else {
            continue;
        };
        for attachment in &mut task.attachments {
            let others = store.tasks().filter(|other| other.id != task.id);
            let mut held = others
                .filter(|other| !other.status.state.is_terminal())
                .flat_map(|other| &other.attachments);
            if let Some(taken) = held.find(|held| held.network == attachment.network) {
                attachment.address = taken.address;
            }
        }
    }
}
