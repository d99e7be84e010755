//! openraft's log and vote, over a disk. An entry is acknowledged only after it is synced.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};

use crate::types::{Entry, LogId, Types, Vote};

/// Where the log ends on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnds {
    /// The last entry that was forgotten because a snapshot holds it.
    pub purged: Option<LogId>,
    /// The last entry that is there.
    pub last: Option<LogId>,
}

/// Where log and vote are kept. What is written is synced before it returns; `append` says so by `flushed` instead. Cheap to
/// clone.
pub trait LogDisk<C: Types>: Clone + Send + Sync + 'static {
    /// The entries from `start` up to and not including `end`.
    fn entries(&self, start: u64, end: u64) -> impl Future<Output = io::Result<Vec<Entry>>> + Send;

    /// Where the log ends.
    fn ends(&self) -> impl Future<Output = io::Result<LogEnds>> + Send;

    /// The vote.
    fn vote(&self) -> impl Future<Output = io::Result<Option<Vote>>> + Send;

    /// Writes the vote.
    fn save_vote(&self, vote: Vote) -> impl Future<Output = io::Result<()>> + Send;

    /// Appends entries. They can be read when this returns, so that they travel while our own disk works; nobody counts them.
    fn append(
        &self,
        entries: Vec<Entry>,
        flushed: IOFlushed<C>,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Forgets the entries from `start` on.
    fn truncate(&self, start: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// Forgets the entries up to and including `last`.
    fn purge(&self, last: LogId) -> impl Future<Output = io::Result<()>> + Send;
}

/// The log. Clones share the disk and serve as readers.
#[derive(Clone, Debug)]
pub struct LogStore<D>(pub D);

impl<C: Types, D: LogDisk<C>> RaftLogReader<C> for LogStore<D> {
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
        self.0.entries(start, end).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.0.vote().await
    }
}

impl<C: Types, D: LogDisk<C>> RaftLogStorage<C> for LogStore<D> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let ends = self.0.ends().await?;
        Ok(LogState {
            last_log_id: ends.last.or(ends.purged),
            last_purged_log_id: ends.purged,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.save_vote(*vote).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0.append(entries.into_iter().collect(), callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let start = last_log_id.map_or(0, |id| id.index + 1);
        self.0.truncate(start).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.0.purge(log_id).await
    }
}
