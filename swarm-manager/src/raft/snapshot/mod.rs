//! A snapshot: the whole store as a sequence of objects, in a file of sealed chunks; the record in the database that names the
//! file makes it count. Nothing here holds the whole content in memory.

mod file;
mod wire;

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use swarm_core::store::{Object, Store};

pub(crate) use self::{
    file::{FileInfo, SnapshotData, SnapshotDir},
    wire::{Incoming, IncomingError, header, pieces},
};
use super::{database::StateDb, types::SnapshotMeta};

/// Version of the content's form.
const CONTENT_VERSION: u32 = 1;

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

/// Begins a snapshot's content; so many objects follow.
#[derive(Serialize, Deserialize)]
struct ContentHeader {
    version: u32,
    index: u64,
    objects: u64,
}

/// Writes the content of a snapshot: a header and every object, each as CBOR.
pub(crate) fn write_store(store: &Store, mut output: impl Write) -> io::Result<()> {
    let header = ContentHeader {
        version: CONTENT_VERSION,
        index: store.index(),
        objects: store.objects().count() as u64,
    };
    ciborium::into_writer(&header, &mut output).map_err(unwritten)?;
    for object in store.objects() {
        ciborium::into_writer(&object, &mut output).map_err(unwritten)?;
    }
    Ok(())
}

/// Reads the content of a snapshot.
pub(crate) fn read_store(mut input: impl Read) -> io::Result<Store> {
    let header: ContentHeader = ciborium::from_reader(&mut input).map_err(unread)?;
    if header.version != CONTENT_VERSION {
        let text = format!(
            "the snapshot is of form {}, this program knows {CONTENT_VERSION}; it was made by a newer one",
            header.version
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut store = Store::at_index(header.index);
    for _number in 0..header.objects {
        let object: Object = ciborium::from_reader(&mut input).map_err(unread)?;
        store.restore(object);
    }
    Ok(store)
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

fn unwritten(error: ciborium::ser::Error<io::Error>) -> io::Error {
    match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(text) => io::Error::other(text),
    }
}

fn unread(error: ciborium::de::Error<io::Error>) -> io::Error {
    if let ciborium::de::Error::Io(error) = error {
        return error;
    }
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests;
