//! openraft's log and vote over the sealed database. An entry is acknowledged only after it is synced; until then it is
//! readable, so that it travels to the others while our own disk works.

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
    log_writer::LogWriter,
    types::{Entry, LogId, TypeConfig, Vote},
};

/// The log. Clones share the database and serve as readers.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    db: StateDb,
    writer: LogWriter,
}

impl LogStore {
    /// Starts the thread that writes the log.
    pub(crate) fn open(db: StateDb) -> io::Result<Self> {
        let writer = LogWriter::start(db.clone())?;
        Ok(Self { db, writer })
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
        self.writer.vote(*vote).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.writer.append(entries.into_iter().collect(), callback)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let start = last_log_id.map_or(0, |id| id.index + 1);
        self.writer.truncate(start).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.writer.purge(log_id).await
    }
}
