//! The thread that writes the log. openraft's core never waits for the disk: it hands entries over and goes on sending
//! heartbeats and replicating while they are synced. Everything that waits is written in the order it was handed over, and
//! appends that wait together share one sync (group commit).

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::{
    database::{StateDb, key},
    types::{Entry, LogId, TypeConfig, Vote},
};

/// Entries of one sync at most.
const MAX_BATCH: usize = 4096;

type Done = oneshot::Sender<io::Result<()>>;

/// What is to be written.
enum Job {
    Append(Vec<Entry>, IOFlushed<TypeConfig>),
    Vote(Vote, Done),
    Truncate(u64, Done),
    Purge(LogId, Done),
}

/// The way to the thread, which ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    jobs: mpsc::Sender<Job>,
    pending: Pending,
}

/// Entries that are handed over and not synced yet: readers see them, nobody counts them.
#[derive(Clone, Debug, Default)]
struct Pending(Arc<Mutex<BTreeMap<u64, Entry>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are on disk now; others may have taken their places meanwhile.
    fn forget(&self, entries: &[Entry]) {
        let mut pending = self.lock();
        for entry in entries {
            let index = entry.log_id.index;
            if pending
                .get(&index)
                .is_some_and(|kept| kept.log_id == entry.log_id)
            {
                pending.remove(&index);
            }
        }
    }
}

impl LogWriter {
    /// Starts the thread.
    pub(super) fn start(db: StateDb) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let pending = Pending::default();
        let writer = Writer {
            db,
            queue,
            pending: pending.clone(),
            so_far: Ok(()),
        };
        thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self { jobs, pending })
    }

    /// The entries from `start` up to and not including `end` that are not on disk yet.
    pub(super) fn pending(&self, start: u64, end: u64) -> BTreeMap<u64, Entry> {
        let pending = self.pending.lock();
        pending
            .range(start..end.max(start))
            .map(|(index, entry)| (*index, entry.clone()))
            .collect()
    }

    /// Hands entries over; `flushed` is told when they are synced.
    pub(super) fn append(
        &self,
        entries: Vec<Entry>,
        flushed: IOFlushed<TypeConfig>,
    ) -> io::Result<()> {
        let numbered = entries
            .iter()
            .map(|entry| (entry.log_id.index, entry.clone()));
        self.pending.lock().extend(numbered);
        self.hand_over(Job::Append(entries, flushed))
    }

    /// Writes the vote; returns when it is synced.
    pub(super) async fn vote(&self, vote: Vote) -> io::Result<()> {
        self.wait(|done| Job::Vote(vote, done)).await
    }

    /// Forgets the entries from `start` on; returns when that is synced.
    pub(super) async fn truncate(&self, start: u64) -> io::Result<()> {
        self.pending.lock().split_off(&start);
        self.wait(|done| Job::Truncate(start, done)).await
    }

    /// Forgets the entries up to and including `last`; returns when that is synced.
    pub(super) async fn purge(&self, last: LogId) -> io::Result<()> {
        self.wait(|done| Job::Purge(last, done)).await
    }

    fn hand_over(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| ended())
    }

    async fn wait(&self, job: impl FnOnce(Done) -> Job) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.hand_over(job(done))?;
        written.await.map_err(|_| ended())?
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that writes the log has ended")
}

/// The thread's side.
struct Writer {
    db: StateDb,
    queue: mpsc::Receiver<Job>,
    pending: Pending,
    /// After a failed write nothing more is written: what came later must not be on disk without what came before.
    so_far: io::Result<()>,
}

impl Writer {
    fn run(mut self) {
        let mut next = self.queue.recv().ok();
        while let Some(job) = next.take() {
            match job {
                Job::Append(entries, flushed) => next = self.append_together(entries, flushed),
                Job::Vote(vote, done) => {
                    answer(done, self.write(|db| db.put_meta(key::VOTE, &vote)));
                }
                Job::Truncate(start, done) => answer(done, self.write(|db| db.truncate(start))),
                Job::Purge(last, done) => {
                    answer(done, self.write(|db| db.purge(last.index, &last)));
                }
            }
            if next.is_none() {
                next = self.queue.recv().ok();
            }
        }
    }

    fn write(&mut self, work: impl FnOnce(&StateDb) -> io::Result<()>) -> io::Result<()> {
        if self.so_far.is_ok() {
            self.so_far = work(&self.db);
        }
        copy(&self.so_far)
    }

    /// Writes these entries and those of every append that waits behind them with one sync; gives the first other job met.
    fn append_together(
        &mut self,
        mut entries: Vec<Entry>,
        flushed: IOFlushed<TypeConfig>,
    ) -> Option<Job> {
        let mut waiting = vec![flushed];
        let mut other = None;
        while entries.len() < MAX_BATCH {
            match self.queue.try_recv() {
                Ok(Job::Append(more, flushed)) => {
                    entries.extend(more);
                    waiting.push(flushed);
                }
                Ok(job) => {
                    other = Some(job);
                    break;
                }
                Err(_nothing_waits) => break,
            }
        }
        let outcome = self.write(|db| db.append(&entries));
        if outcome.is_ok() {
            self.pending.forget(&entries);
        }
        for flushed in waiting {
            flushed.io_completed(copy(&outcome));
        }
        other
    }
}

/// An outcome for one of several who wait for it.
fn copy(outcome: &io::Result<()>) -> io::Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

fn answer(done: Done, outcome: io::Result<()>) {
    if done.send(outcome).is_err() {
        tracing::debug!("raft stopped before its log was written");
    }
}
