//! A snapshot: the whole store as bytes, as on a real disk.

use std::{io, sync::Arc};

use swarm_core::store::Store;

use super::{
    database::{StateDb, blocking, key},
    types::{SnapshotMeta, decode, encode},
};

/// The encoded store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotData {
    bytes: Arc<Vec<u8>>,
}

impl SnapshotData {
    pub(crate) fn encode(store: &Store) -> io::Result<Self> {
        Ok(Self {
            bytes: Arc::new(encode(store)?),
        })
    }

    pub(crate) fn decode(&self) -> io::Result<Store> {
        decode(&self.bytes)
    }
}

/// The last snapshot on disk.
pub(crate) fn load(db: &StateDb) -> io::Result<Option<(SnapshotMeta, SnapshotData)>> {
    let stored: Option<(SnapshotMeta, Vec<u8>)> = db.meta(key::SNAPSHOT)?;
    Ok(stored.map(|(meta, bytes)| {
        let bytes = Arc::new(bytes);
        (meta, SnapshotData { bytes })
    }))
}

/// Replaces the snapshot on disk, synced.
pub(crate) async fn save(db: &StateDb, meta: &SnapshotMeta, data: &SnapshotData) -> io::Result<()> {
    let (db, stored) = (db.clone(), (meta.clone(), data.bytes.to_vec()));
    blocking(move || db.put_meta(key::SNAPSHOT, &stored)).await
}
