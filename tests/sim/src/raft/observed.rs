//! The manager's state machine with the simulation's eyes on it.

use std::{io, sync::Arc};

use futures::{Stream, TryStreamExt as _};
use openraft::{
    EntryPayload, OptionalSend,
    storage::{EntryResponder, RaftStateMachine},
};

use super::{
    database::StateDb,
    snapshot::SnapshotData,
    state_machine::{Builder, SharedStore, StateMachine},
    types::{Command, LogId, RaftId, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{ground::lock, history::SharedHistory};

/// What openraft drives.
#[derive(Debug)]
pub(crate) struct Observed {
    machine: StateMachine,
    db: StateDb,
    member: RaftId,
    history: Arc<SharedHistory>,
}

impl Observed {
    /// From what is on the disk.
    pub(crate) fn open(
        db: StateDb,
        member: RaftId,
        history: Arc<SharedHistory>,
    ) -> io::Result<Self> {
        let machine = StateMachine::open(db.clone())?;
        Ok(Self {
            machine,
            db,
            member,
            history,
        })
    }

    pub(crate) fn shared(&self) -> SharedStore {
        self.machine.shared()
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
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.machine.applied_state().await
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.check_alive()?;
            let id = entry.log_id;
            let command: Option<&Command> = match &entry.payload {
                EntryPayload::Normal(command) => Some(command),
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            };
            let is_normal = command.is_some();
            lock(&self.history.inner).applied(self.member, id, command);
            let one = futures::stream::iter([Ok((entry, responder))]);
            self.machine.apply(one).await?;
            if is_normal {
                let shared = self.machine.shared();
                let store = shared.read();
                lock(&self.history.inner).changed(self.member, &store);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        {
            let shared = self.machine.shared();
            lock(&self.history.inner).whole_state(self.member, &shared.read());
        }
        self.machine.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        self.check_alive()?;
        self.machine.install_snapshot(meta, data).await?;
        let shared = self.machine.shared();
        lock(&self.history.inner).whole_state(self.member, &shared.read());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>>> {
        self.machine.get_current_snapshot().await
    }
}
