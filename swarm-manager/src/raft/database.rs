//! The manager's file on disk: one redb database with sealed values. Every write is one transaction that is synced before it
//! counts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use swarm_core::{ca::RemovedNodes, lock::SecretKey};

use super::{
    seal::{KeyError, Sealer},
    snapshot::{SnapshotDir, Stored},
    survey::{Problem, survey},
    types::{Entry, Member, RaftId, Vote, decode, encode},
};

pub(crate) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Name of the database's file in the state directory.
pub(super) const FILE: &str = "raft.redb";
/// The same while it is made: a crash then leaves no half-made database.
const NEW_FILE: &str = "raft.redb.new";

/// Keys of the table `meta`.
pub(crate) mod key {
    pub(crate) const MEMBER: &str = "member";
    pub(crate) const VOTE: &str = "vote";
    pub(crate) const PURGED: &str = "purged";
    pub(crate) const SNAPSHOTS: &str = "snapshots";
    pub(crate) const REMOVED: &str = "removed";
    pub(crate) const TOLD: &str = "told";
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
    /// A manager runs, or `recover` does.
    #[error("state directory {}: another process uses it, a running manager or swarm-manager recover", path.display())]
    InUse { path: PathBuf },
    /// Another process has it open, or it is damaged.
    #[error("{}: {source}", path.display())]
    Database {
        path: PathBuf,
        source: redb::DatabaseError,
    },
    /// The key is lost or damaged.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A value cannot be read or written.
    #[error("{}: {source}", path.display())]
    Value { path: PathBuf, source: io::Error },
    /// Something on disk is not what was written. Nothing was changed.
    #[error("{problem}. Nothing was changed. `swarm-manager recover --state-dir {}` shows everything that is there and what can be done", dir.display())]
    Damaged { dir: PathBuf, problem: Problem },
}

/// The database's file in a state directory.
pub(crate) fn database_file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// The open database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StateDb {
    pub(super) database: Arc<Database>,
    pub(super) sealer: Sealer,
    path: PathBuf,
    snapshots: SnapshotDir,
    changing_snapshots: Arc<Mutex<()>>,
    noting_removed: Arc<Mutex<()>>,
    /// Held as long as the database is open.
    _lock: Option<Arc<DirLock>>,
}

/// The only process that may touch a state directory: an advisory lock (flock) on the directory itself, so it needs no file
/// and ends with the process.
#[derive(Debug)]
pub(crate) struct DirLock(#[expect(dead_code, reason = "the open file is the lock")] fs::File);

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory {
            path: dir.to_owned(),
            source,
        };
        let file = fs::File::open(dir).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse {
                path: dir.to_owned(),
            }),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
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
        let failed = |source| StateError::Directory {
            path: dir.to_owned(),
            source,
        };
        // The database first: without it the rest is rubbish that the next init removes.
        for name in [FILE, NEW_FILE, super::seal::KEY_FILE] {
            let path = dir.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateError::Value {
                        path,
                        source: error,
                    });
                }
                Ok(()) | Err(_) => {}
            }
            sync_dir(dir).map_err(failed)?; // or a loss of power brings the database back, with a key beside it
        }
        SnapshotDir::remove_all(dir).map_err(failed)
    }

    /// Opens or makes the state in `dir`, which is not locked.
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        Self::unlock(dir, None)
    }

    /// Opens or makes the state in `dir`, with the unlock key if it is locked. A state that is there is looked at as a whole
    /// before anything is written to it.
    pub(crate) fn unlock(dir: &Path, key: Option<&SecretKey>) -> Result<Self, StateError> {
        fs::create_dir_all(dir).map_err(|source| StateError::Directory {
            path: dir.to_owned(),
            source,
        })?;
        let lock = DirLock::take(dir)?;
        let fresh = !Self::exists(dir)?;
        let sealer = Sealer::open(dir, fresh, key)?;
        Self::open_with(dir, fresh, sealer, lock)
    }

    fn open_with(
        dir: &Path,
        fresh: bool,
        sealer: Sealer,
        lock: DirLock,
    ) -> Result<Self, StateError> {
        let path = dir.join(FILE);
        if !fresh && let Some(problem) = survey(dir, &sealer).problems.into_iter().next() {
            return Err(StateError::Damaged {
                dir: dir.to_owned(),
                problem,
            });
        }
        let database = if fresh {
            make(dir)?
        } else {
            Database::create(&path).map_err(|source| StateError::Database {
                path: path.clone(),
                source,
            })?
        };
        let db = Self {
            database: Arc::new(database),
            snapshots: SnapshotDir::new(dir),
            changing_snapshots: Arc::default(),
            noting_removed: Arc::default(),
            sealer,
            path,
            _lock: Some(Arc::new(lock)),
        };
        db.forget_unused_snapshots()
            .map_err(|error| db.damaged(error))?;
        Ok(db)
    }

    /// A database that the caller opened and, if need be, locked.
    pub(crate) fn of(database: Database, dir: &Path, sealer: Sealer) -> Self {
        Self {
            database: Arc::new(database),
            snapshots: SnapshotDir::new(dir),
            changing_snapshots: Arc::default(),
            noting_removed: Arc::default(),
            sealer,
            path: dir.join(FILE),
            _lock: None,
        }
    }

    fn forget_unused_snapshots(&self) -> io::Result<()> {
        let all = self.snapshots()?;
        let files: Vec<_> = all.iter().map(|stored| &stored.file).collect();
        self.snapshots.remove_others(&files);
        Ok(())
    }

    /// Where snapshots are.
    pub(crate) fn snapshot_dir(&self) -> &SnapshotDir {
        &self.snapshots
    }

    /// The snapshots that count, the newest first.
    pub(crate) fn snapshots(&self) -> io::Result<Vec<Stored>> {
        Ok(self.meta(key::SNAPSHOTS)?.unwrap_or_default())
    }

    /// Changes which snapshots count, synced; nothing is written for `None`. One change at a time: openraft builds a snapshot
    /// while another one arrives, and the one that reads first must not undo what the other wrote.
    pub(crate) fn change_snapshots<T>(
        &self,
        change: impl FnOnce(&mut Vec<Stored>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let _alone = self
            .changing_snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut all = self.snapshots()?;
        let changed = change(&mut all);
        if changed.is_some() {
            self.put_meta(key::SNAPSHOTS, &all)?;
        }
        Ok(changed)
    }

    /// The removed nodes that were noted last: those that this manager knows of by itself.
    pub(crate) fn removed(&self) -> io::Result<RemovedNodes> {
        Ok(self.meta(key::REMOVED)?.unwrap_or_default())
    }

    /// The removed nodes that others told of.
    pub(crate) fn told_removed(&self) -> io::Result<RemovedNodes> {
        Ok(self.meta(key::TOLD)?.unwrap_or_default())
    }

    /// Notes the removed nodes as `current` gives them when it is this write's turn, synced: what only grows is never replaced by
    /// what it was before.
    pub(crate) fn note_removed(&self, current: impl FnOnce() -> RemovedNodes) -> io::Result<()> {
        self.note(key::REMOVED, current)
    }

    /// Notes what others told likewise.
    pub(crate) fn note_told(&self, current: impl FnOnce() -> RemovedNodes) -> io::Result<()> {
        self.note(key::TOLD, current)
    }

    fn note(&self, name: &str, current: impl FnOnce() -> RemovedNodes) -> io::Result<()> {
        let _alone = self
            .noting_removed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.put_meta(name, &current())
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

    /// Reads a value of the table `meta`.
    pub(crate) fn meta<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let txn = self.database.begin_read().map_err(io::Error::other)?;
        let table = txn.open_table(META).map_err(io::Error::other)?;
        let Some(sealed) = table.get(name).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let place = meta_place(name);
        let plain = self.sealer.unseal(&place, sealed.value())?;
        decode(&plain)
            .map(Some)
            .map_err(|error| of_place(&place, &error))
    }

    /// Writes a value of the table `meta`, synced.
    pub(crate) fn put_meta<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let keys = self.sealer.keys(); // held until the value is on disk
        let sealed = keys.seal(&meta_place(name), &encode(value)?)?;
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut table = txn.open_table(META).map_err(io::Error::other)?;
            table
                .insert(name, sealed.as_slice())
                .map_err(io::Error::other)?;
        }
        txn.commit().map_err(io::Error::other)
    }

    /// Replaces everything with a snapshot and what belongs to it, in one write: the log is empty behind it. Which nodes were
    /// removed is what the snapshot says: others who said so are of another cluster from now on.
    pub(crate) fn replace(
        &self,
        member: &ThisMember,
        vote: &Vote,
        snapshot: &Stored,
    ) -> io::Result<()> {
        let keys = self.sealer.keys(); // held until the values are on disk
        let values = [
            (key::MEMBER, encode(member)?),
            (key::VOTE, encode(vote)?),
            (key::PURGED, encode(&snapshot.meta.last_log_id)?),
            (key::SNAPSHOTS, encode(&[snapshot])?),
        ];
        let txn = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut meta = txn.open_table(META).map_err(io::Error::other)?;
            for (name, value) in values {
                let sealed = keys.seal(&meta_place(name), &value)?;
                meta.insert(name, sealed.as_slice())
                    .map_err(io::Error::other)?;
            }
            for name in [key::REMOVED, key::TOLD] {
                meta.remove(name).map_err(io::Error::other)?;
            }
            let mut log = txn.open_table(LOG).map_err(io::Error::other)?;
            log.retain(|_, _| false).map_err(io::Error::other)?;
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
            let entry = self.open_entry(index.value(), sealed.value())?;
            let before = entries.last().map(|before: &Entry| before.log_id.index);
            if before.is_some_and(|before| before + 1 != index.value()) {
                return Err(hole(before.unwrap_or_default() + 1));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Reads the last entry.
    pub(crate) fn last_entry(&self) -> io::Result<Option<Entry>> {
        let txn = self.database.begin_read().map_err(io::Error::other)?;
        let table = txn.open_table(LOG).map_err(io::Error::other)?;
        let last = table.last().map_err(io::Error::other)?;
        last.map(|(index, sealed)| self.open_entry(index.value(), sealed.value()))
            .transpose()
    }

    /// An entry, if it is the one that was stored at its index.
    pub(super) fn open_entry(&self, index: u64, sealed: &[u8]) -> io::Result<Entry> {
        let place = log_place(index);
        let plain = self.sealer.unseal(&place, sealed)?;
        decode(&plain).map_err(|error| of_place(&place, &error))
    }

    /// Calls `each` with every index of the log and what is there.
    pub(super) fn each_entry(
        &self,
        mut each: impl FnMut(u64, io::Result<Entry>),
    ) -> io::Result<()> {
        let txn = self.database.begin_read().map_err(io::Error::other)?;
        let table = txn.open_table(LOG).map_err(io::Error::other)?;
        for item in table.iter().map_err(io::Error::other)? {
            let (index, sealed) = item.map_err(io::Error::other)?;
            each(
                index.value(),
                self.open_entry(index.value(), sealed.value()),
            );
        }
        Ok(())
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

fn hole(index: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} is missing", log_place(index)),
    )
}

/// An error about the content of a place.
fn of_place(place: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}

/// Makes an empty database, whole or not at all.
fn make(dir: &Path) -> Result<Database, StateError> {
    let (new, path) = (dir.join(NEW_FILE), dir.join(FILE));
    let failed = |source| StateError::Value {
        path: path.clone(),
        source,
    };
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let database = Database::create(&new).map_err(|source| StateError::Database {
        path: path.clone(),
        source,
    })?;
    let published = make_tables(&database)
        .and_then(|()| fs::rename(&new, &path))
        .and_then(|()| sync_dir(dir));
    published.map_err(failed)?;
    Ok(database)
}

/// Makes what was made, renamed or removed in a directory survive a loss of power.
fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

pub(super) fn make_tables(database: &Database) -> io::Result<()> {
    let txn = database.begin_write().map_err(io::Error::other)?;
    txn.open_table(LOG).map_err(io::Error::other)?;
    txn.open_table(META).map_err(io::Error::other)?;
    txn.commit().map_err(io::Error::other)
}
