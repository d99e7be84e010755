//! A snapshot: the content that managers write to their disks, as bytes.

use std::{io, sync::Arc};

use swarm_core::{ca::RemovedNodes, store::Store};
use swarm_manager_replica::{
    Snapshots,
    content::{read_store, write_store},
};

use super::{
    database::{StateDb, Write, key},
    types::SnapshotMeta,
};

/// The encoded store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotData {
    bytes: Arc<Vec<u8>>,
}

impl SnapshotData {
    pub(crate) fn encode(store: &Store) -> io::Result<Self> {
        let mut bytes = Vec::new();
        write_store(store, &mut bytes)?;
        let bytes = Arc::new(bytes);
        Ok(Self { bytes })
    }

    pub(crate) fn decode(&self) -> io::Result<Store> {
        read_store(self.bytes.as_slice())
    }

    /// Replaces the snapshot on disk, synced.
    async fn save(&self, db: &StateDb, meta: SnapshotMeta) -> io::Result<()> {
        let stored = (meta, self.bytes.as_slice());
        db.put(Write::meta(key::SNAPSHOT, &stored)?).await
    }
}

impl Snapshots for StateDb {
    type Data = SnapshotData;

    fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotData)>> {
        let stored: Option<(SnapshotMeta, Vec<u8>)> = self.meta(key::SNAPSHOT)?;
        Ok(stored.map(|(meta, bytes)| {
            let bytes = Arc::new(bytes);
            (meta, SnapshotData { bytes })
        }))
    }

    fn load(&self, data: &SnapshotData) -> io::Result<Store> {
        data.decode()
    }

    async fn write(
        &self,
        meta: SnapshotMeta,
        store: Store,
        _keep_old: u64,
    ) -> io::Result<SnapshotData> {
        let data = SnapshotData::encode(&store)?;
        data.save(self, meta).await?;
        Ok(data)
    }

    async fn install(
        &self,
        meta: SnapshotMeta,
        data: SnapshotData,
        _keep_old: u64,
    ) -> io::Result<Store> {
        let store = data.decode()?;
        data.save(self, meta).await?;
        Ok(store)
    }

    fn removed(&self) -> io::Result<RemovedNodes> {
        Ok(self.meta(key::REMOVED)?.unwrap_or_default())
    }

    async fn note_removed(
        &self,
        current: impl FnOnce() -> RemovedNodes + Send + 'static,
    ) -> io::Result<()> {
        self.put(Write::meta(key::REMOVED, &current())?).await
    }
}
