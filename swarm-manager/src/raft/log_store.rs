//! openraft's log and vote over the sealed database, written by a thread of its own.

use std::io;

use openraft::storage::IOFlushed;
use swarm_manager_replica::{LogDisk, LogEnds};

use super::{
    database::{StateDb, blocking, key},
    log_writer::LogWriter,
    types::{Entry, LogId, TypeConfig, Vote},
};

/// The log as openraft calls it.
pub(crate) type LogStore = swarm_manager_replica::LogStore<SealedLog>;

/// The log on disk, and what waits to be written there.
#[derive(Clone, Debug)]
pub(crate) struct SealedLog {
    db: StateDb,
    writer: LogWriter,
}

/// Starts the thread that writes the log.
pub(crate) fn open(db: StateDb) -> io::Result<LogStore> {
    let writer = LogWriter::start(db.clone())?;
    Ok(swarm_manager_replica::LogStore(SealedLog { db, writer }))
}

impl LogDisk<TypeConfig> for SealedLog {
    async fn entries(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        // In this order: what is synced meanwhile is found in both places, and never in none.
        let mut found = self.writer.pending(start, end);
        let wanted = end.saturating_sub(start);
        if u64::try_from(found.len()) != Ok(wanted) {
            let db = self.db.clone();
            for entry in blocking(move || db.entries(start, end)).await? {
                found.entry(entry.log_id.index).or_insert(entry);
            }
        }
        Ok(found.into_values().collect())
    }

    async fn ends(&self) -> io::Result<LogEnds> {
        let db = self.db.clone();
        blocking(move || {
            Ok(LogEnds {
                purged: db.meta(key::PURGED)?,
                last: db.last_entry()?.map(|entry| entry.log_id),
            })
        })
        .await
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        let db = self.db.clone();
        blocking(move || db.meta(key::VOTE)).await
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.writer.vote(vote).await
    }

    async fn append(&self, entries: Vec<Entry>, flushed: IOFlushed<TypeConfig>) -> io::Result<()> {
        self.writer.append(entries, flushed)
    }

    async fn truncate(&self, start: u64) -> io::Result<()> {
        self.writer.truncate(start).await
    }

    async fn purge(&self, last: LogId) -> io::Result<()> {
        self.writer.purge(last).await
    }
}
