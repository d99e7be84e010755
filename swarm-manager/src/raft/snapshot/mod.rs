//! A snapshot: the whole store as a sequence of objects, in a file of sealed chunks; the record in the database that names the
//! file makes it count. Nothing here holds the whole content in memory.

mod file;
mod wire;

use std::io;

use serde::{Deserialize, Serialize};
use swarm_core::{ca::RemovedNodes, store::Store};
use swarm_manager_replica::Snapshots;
pub(crate) use swarm_manager_replica::content::{read_store, write_store};

pub(crate) use self::{
    file::{FileInfo, SnapshotData, SnapshotDir},
    wire::{Incoming, IncomingError, header, pieces, vote_of},
};
use super::{
    database::{StateDb, blocking},
    types::SnapshotMeta,
};

/// A snapshot that counts: which state it is, and its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) meta: SnapshotMeta,
    pub(crate) file: FileInfo,
}

impl Stored {
    /// Index of the last entry that it contains.
    pub(crate) fn index(&self) -> u64 {
        self.meta.last_log_id.map_or(0, |id| id.index)
    }
}

/// Reads a snapshot's store and checks the whole file.
pub(crate) fn load_store(data: &SnapshotData) -> io::Result<Store> {
    let mut reader = data.reader();
    let store = read_store(&mut reader)?;
    reader.finish()?;
    Ok(store)
}

/// Writes a store to a file that does not count yet.
pub(crate) fn write_file(dir: &SnapshotDir, store: &Store) -> io::Result<SnapshotData> {
    let mut writer = dir.create()?;
    write_store(store, &mut writer)?;
    writer.finish()
}

impl Snapshots for StateDb {
    type Data = SnapshotData;

    fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotData)>> {
        let Some(stored) = self.snapshots()?.into_iter().next() else {
            return Ok(None);
        };
        let data = self.snapshot_dir().open(&stored.file)?;
        Ok(Some((stored.meta, data)))
    }

    fn load(&self, data: &SnapshotData) -> io::Result<Store> {
        load_store(data)
    }

    async fn write(
        &self,
        meta: SnapshotMeta,
        store: Store,
        keep_old: u64,
    ) -> io::Result<SnapshotData> {
        let db = self.clone();
        blocking(move || {
            let data = write_file(db.snapshot_dir(), &store)?;
            save(&db, &meta, &data, keep_old)?;
            Ok(data)
        })
        .await
    }

    async fn install(
        &self,
        meta: SnapshotMeta,
        data: SnapshotData,
        keep_old: u64,
    ) -> io::Result<Store> {
        let db = self.clone();
        blocking(move || {
            let data = db.snapshot_dir().adopt(data)?;
            let store = load_store(&data)?; // as a whole, before anything counts on it
            save(&db, &meta, &data, keep_old)?;
            Ok(store)
        })
        .await
    }

    fn removed(&self) -> io::Result<RemovedNodes> {
        Self::removed(self)
    }

    async fn note_removed(
        &self,
        current: impl FnOnce() -> RemovedNodes + Send + 'static,
    ) -> io::Result<()> {
        let db = self.clone();
        blocking(move || Self::note_removed(&db, current)).await
    }
}

/// Makes a snapshot count and forgets the ones before it but `keep_old`. A snapshot older than the newest one is dropped: it was
/// built while another manager's arrived.
pub(crate) fn save(
    db: &StateDb,
    meta: &SnapshotMeta,
    data: &SnapshotData,
    keep_old: u64,
) -> io::Result<()> {
    let keep = usize::try_from(keep_old)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    let dropped = db.change_snapshots(|all| {
        let newest = all.first().map(|newest| newest.meta.last_log_id);
        if newest.is_some_and(|newest| newest > meta.last_log_id) {
            return None;
        }
        let stored = Stored {
            meta: meta.clone(),
            file: data.info().clone(),
        };
        all.insert(0, stored);
        data.keep();
        Some(all.split_off(keep.min(all.len())))
    })?;
    for old in dropped.into_iter().flatten() {
        db.snapshot_dir().remove(&old.file);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
