//! openraft's log and vote over the simulated disk.

use std::io;

use openraft::storage::IOFlushed;
use swarm_manager_replica::{LogDisk, LogEnds};

use super::{
    database::{StateDb, Write, key},
    types::{Entry, LogId, TypeConfig, Vote},
};

impl LogDisk<TypeConfig> for StateDb {
    async fn entries(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.range(start, end)
    }

    async fn ends(&self) -> io::Result<LogEnds> {
        Ok(LogEnds {
            purged: self.meta(key::PURGED)?,
            last: self.last_entry()?.map(|entry| entry.log_id),
        })
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        self.meta(key::VOTE)
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.put(Write::meta(key::VOTE, &vote)?).await
    }

    async fn append(&self, entries: Vec<Entry>, flushed: IOFlushed<TypeConfig>) -> io::Result<()> {
        self.put(Write::Append(entries)).await?;
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&self, start: u64) -> io::Result<()> {
        self.put(Write::Truncate(start)).await
    }

    async fn purge(&self, last: LogId) -> io::Result<()> {
        self.put(Write::purge(last)?).await
    }
}
