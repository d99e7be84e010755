//! The manager's file on disk: one redb database with sealed values. Every write is one transaction that is synced before it
//! counts.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use swarm_core::lock::SecretKey;

use super::{
    seal::{KeyError, Sealer},
    types::{Entry, Member, RaftId, decode, encode},
};

pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FILE: &str = "raft.redb";

/// Keys of the table `meta`.
pub(crate) mod key {
    pub(crate) const MEMBER: &str = "member";
    pub(crate) const VOTE: &str = "vote";
    pub(crate) const PURGED: &str = "purged";
    pub(crate) const SNAPSHOT: &str = "snapshot";
}

/// Which member of Raft this manager is. Written once, by init or join, before Raft starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThisMember {
    pub(crate) raft_id: RaftId,
    pub(crate) member: Member,
    /// Where the manager listens.
    pub(crate) listen_addr: std::net::SocketAddr,
}

/// Why the state on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The folder cannot be made or written.
    #[error("state directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// Another process has it open, or it is damaged.
    #[error("{}: {source}", path.display())]
    Database {
        path: PathBuf,
        source: redb::DatabaseError,
    },
    /// The key is lost or damaged.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A value is damaged.
    #[error("{}: {source}", path.display())]
    Value { path: PathBuf, source: io::Error },
}

/// The open database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StateDb {
    pub(super) database: Arc<Database>,
    pub(super) sealer: Sealer,
    pub(super) path: PathBuf,
}

impl StateDb {
    /// Whether `dir` holds a state.
    pub(crate) fn exists(dir: &Path) -> Result<bool, StateError> {
        dir.join(FILE)
            .try_exists()
            .map_err(|source| StateError::Directory {
                path: dir.to_owned(),
                source,
            })
    }

    /// Removes the state of `dir`, its key included.
    pub(crate) fn remove(dir: &Path) -> Result<(), StateError> {
        for name in [FILE, super::seal::KEY_FILE] {
            let path = dir.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateError::Value {
                        path,
                        source: error,
                    });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Opens or makes the state in `dir`, which is not locked.
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        Self::unlock(dir, None)
    }

    /// Opens or makes the state in `dir`, with the unlock key if it is locked.
    pub(crate) fn unlock(dir: &Path, key: Option<&SecretKey>) -> Result<Self, StateError> {
        let path = dir.join(FILE);
        let directory = |source| StateError::Directory {
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(directory)?;
        let fresh = !Self::exists(dir)?;
        let sealer = Sealer::open(dir, fresh, key)?;
        let database = Database::create(&path).map_err(|source| StateError::Database {
            path: path.clone(),
            source,
        })?;
        let db = Self {
            database: Arc::new(database),
            sealer,
            path,
        };
        db.make_tables().map_err(|error| db.damaged(error))?;
        Ok(db)
    }

    /// What seals the values.
    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// An error of this file, with its name.
    pub(crate) fn damaged(&self, source: io::Error) -> StateError {
        StateError::Value {
            path: self.path.clone(),
            source,
        }
    }

    fn make_tables(&self) -> io::Result<()> {
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        txn.open_table(LOG).map_err(io::Error::other)?;
        txn.open_table(META).map_err(io::Error::other)?;
        txn.commit().map_err(io::Error::other)
    }

    /// Reads a value of the table `meta`.
    pub(crate) fn meta<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        self.meta_bytes(name)?
            .map(|plain| decode(&plain))
            .transpose()
    }

    /// Reads a value of the table `meta` that has its own encoding.
    pub(crate) fn meta_bytes(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let txn = self.database.begin_read().map_err(io::Error::other)?;
        let table = txn.open_table(META).map_err(io::Error::other)?;
        let Some(sealed) = table.get(name).map_err(io::Error::other)? else {
            return Ok(None);
        };
        self.sealer
            .unseal(&meta_place(name), sealed.value())
            .map(Some)
    }

    /// Writes a value of the table `meta`, synced.
    pub(crate) fn put_meta<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        self.put_meta_bytes(name, &encode(value)?)
    }

    /// Writes a value of the table `meta` that has its own encoding, synced.
    pub(crate) fn put_meta_bytes(&self, name: &str, plain: &[u8]) -> io::Result<()> {
        let keys = self.sealer.keys(); // held until the value is on disk
        let sealed = keys.seal(&meta_place(name), plain)?;
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut table = txn.open_table(META).map_err(io::Error::other)?;
            table
                .insert(name, sealed.as_slice())
                .map_err(io::Error::other)?;
        }
        txn.commit().map_err(io::Error::other)
    }

    /// Reads the entries from `start` up to and not including `end`.
    pub(crate) fn entries(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let txn = self.database.begin_read().map_err(io::Error::other)?;
        let table = txn.open_table(LOG).map_err(io::Error::other)?;
        let mut entries = Vec::new();
        for item in table.range(start..end).map_err(io::Error::other)? {
            let (index, sealed) = item.map_err(io::Error::other)?;
            let plain = self
                .sealer
                .unseal(&log_place(index.value()), sealed.value())?;
            entries.push(decode(&plain)?);
        }
        Ok(entries)
    }

    /// Reads the last entry.
    pub(crate) fn last_entry(&self) -> io::Result<Option<Entry>> {
        let txn = self.database.begin_read().map_err(io::Error::other)?;
        let table = txn.open_table(LOG).map_err(io::Error::other)?;
        let last = table.last().map_err(io::Error::other)?;
        last.map(|(index, sealed)| {
            let place = log_place(index.value());
            decode(&self.sealer.unseal(&place, sealed.value())?)
        })
        .transpose()
    }

    /// Appends entries, synced.
    pub(crate) fn append(&self, entries: &[Entry]) -> io::Result<()> {
        let keys = self.sealer.keys();
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut table = txn.open_table(LOG).map_err(io::Error::other)?;
            for entry in entries {
                let index = entry.log_id.index;
                let sealed = keys.seal(&log_place(index), &encode(entry)?)?;
                table
                    .insert(index, sealed.as_slice())
                    .map_err(io::Error::other)?;
            }
        }
        txn.commit().map_err(io::Error::other)
    }

    /// Forgets the entries from `start` on, synced.
    pub(crate) fn truncate(&self, start: u64) -> io::Result<()> {
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut table = txn.open_table(LOG).map_err(io::Error::other)?;
            table
                .retain_in(start.., |_, _| false)
                .map_err(io::Error::other)?;
        }
        txn.commit().map_err(io::Error::other)
    }

    /// Forgets the entries up to and including `last` and remembers that, in one write.
    pub(crate) fn purge<T: Serialize>(&self, last: u64, log_id: &T) -> io::Result<()> {
        let keys = self.sealer.keys();
        let sealed = keys.seal(&meta_place(key::PURGED), &encode(log_id)?)?;
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut table = txn.open_table(LOG).map_err(io::Error::other)?;
            table
                .retain_in(..=last, |_, _| false)
                .map_err(io::Error::other)?;
            let mut meta = txn.open_table(META).map_err(io::Error::other)?;
            meta.insert(key::PURGED, sealed.as_slice())
                .map_err(io::Error::other)?;
        }
        txn.commit().map_err(io::Error::other)
    }
}

/// Runs a blocking operation of the database away from the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

pub(super) fn meta_place(name: &str) -> String {
    format!("meta/{name}")
}

pub(super) fn log_place(index: u64) -> String {
    format!("log/{index}")
}
