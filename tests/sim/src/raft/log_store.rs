//! openraft's log and vote over the simulated disk. An entry is acknowledged only after it is synced.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};

use super::{
    database::{StateDb, blocking, key},
    types::{Entry, LogId, TypeConfig, Vote},
};

/// The log. Clones share the database and serve as readers.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    db: StateDb,
}

impl LogStore {
    pub(crate) fn new(db: StateDb) -> Self {
        Self { db }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let db = self.db.clone();
        blocking(move || db.entries(start, end)).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let db = self.db.clone();
        blocking(move || db.meta(key::VOTE)).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let db = self.db.clone();
        blocking(move || {
            let purged: Option<LogId> = db.meta(key::PURGED)?;
            let last = db.last_entry()?.map(|entry| entry.log_id);
            Ok(LogState {
                last_log_id: last.or(purged),
                last_purged_log_id: purged,
            })
        })
        .await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (db, vote) = (self.db.clone(), *vote);
        blocking(move || db.put_meta(key::VOTE, &vote)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let db = self.db.clone();
        blocking(move || db.append(&entries)).await?;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let start = last_log_id.map_or(0, |id| id.index + 1);
        let db = self.db.clone();
        blocking(move || db.truncate(start)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let db = self.db.clone();
        blocking(move || db.purge(log_id.index, &log_id)).await
    }
}
