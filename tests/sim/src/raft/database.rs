//! A disk that takes time and loses what was not synced when its host dies. Every write is one transaction that counts once it
//! is synced.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Bound,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::types::{Entry, LogId, decode, encode};
use crate::ground::{Ground, Sabotage, elapsed, lock, sleep, spawn};

/// How long a disk that lies about a write takes to make it true.
const LIE: (u64, u64) = (200, 1500);

/// Keys of the values beside the log.
pub(crate) mod key {
    pub(crate) const VOTE: &str = "vote";
    pub(crate) const PURGED: &str = "purged";
    pub(crate) const SNAPSHOT: &str = "snapshot";
    pub(crate) const REMOVED: &str = "removed";
}

/// After which write the host dies at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// After the next vote is on disk, before anybody hears of it.
    AfterVote,
    /// After the next entries are on disk, before anybody hears of it.
    AfterAppend,
}

/// One transaction.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Append(Vec<Entry>),
    /// Everything from this index on goes.
    Truncate(u64),
    /// Everything up to this index goes; the encoded identifier of the last one stays.
    Purge(u64, Vec<u8>),
    Meta(&'static str, Vec<u8>),
}

impl Write {
    /// A value beside the log.
    pub(crate) fn meta<T: Serialize>(name: &'static str, value: &T) -> io::Result<Self> {
        Ok(Self::Meta(name, encode(value)?))
    }

    /// The log up to this entry is held by a snapshot.
    pub(crate) fn purge(last: LogId) -> io::Result<Self> {
        Ok(Self::Purge(last.index, encode(&last)?))
    }

    fn is(&self, point: CrashPoint) -> bool {
        match point {
            CrashPoint::AfterVote => matches!(self, Self::Meta(name, _) if *name == key::VOTE),
            CrashPoint::AfterAppend => matches!(self, Self::Append(_)),
        }
    }

    fn is_lied_about(&self, sabotage: Option<Sabotage>) -> bool {
        match sabotage {
            Some(Sabotage::VoteNotSynced) => self.is(CrashPoint::AfterVote),
            Some(Sabotage::AppendNotSynced) => self.is(CrashPoint::AfterAppend),
            Some(Sabotage::AddressTwice | Sabotage::StaleReads | Sabotage::RemovalsForgotten)
            | None => false,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    log: BTreeMap<u64, Arc<Entry>>,
    meta: BTreeMap<&'static str, Vec<u8>>,
}

impl Content {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Append(entries) => {
                let entries = entries.iter();
                self.log
                    .extend(entries.map(|entry| (entry.log_id.index, Arc::new(entry.clone()))));
            }
            Write::Truncate(start) => drop(self.log.split_off(start)),
            Write::Purge(last, log_id) => {
                self.log = self.log.split_off(&(last + 1));
                self.meta.insert(key::PURGED, log_id.clone());
            }
            Write::Meta(name, value) => drop(self.meta.insert(name, value.clone())),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// What the process reads.
    visible: Content,
    /// What survives a crash.
    durable: Content,
    /// Handed to the disk, not synced yet, in order.
    queue: VecDeque<(u64, Write)>,
    writes: u64,
    /// When the disk is done with what it was given.
    busy_until: Duration,
    /// How many times slower than usual.
    slow: u32,
    /// Grows with every crash; who uses an older one is dead.
    life: u64,
    crash_point: Option<CrashPoint>,
}

/// A host's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    ground: Arc<Ground>,
    inner: Mutex<Inner>,
}

impl Disk {
    pub(crate) fn new(ground: Arc<Ground>) -> Arc<Self> {
        Arc::new(Self {
            ground,
            inner: Mutex::new(Inner {
                slow: 1,
                ..Inner::default()
            }),
        })
    }

    /// The disk as the process that starts now uses it.
    pub(crate) fn open(self: &Arc<Self>) -> StateDb {
        StateDb {
            disk: Arc::clone(self),
            life: lock(&self.inner).life,
        }
    }

    /// The power goes. Of what was not synced, the disk may have written the first part.
    pub(crate) fn crash(&self) {
        let mut inner = lock(&self.inner);
        inner.life += 1;
        inner.crash_point = None;
        for (_, write) in std::mem::take(&mut inner.queue) {
            if !self.ground.chance(500) {
                break;
            }
            inner.durable.apply(&write);
        }
        inner.visible = inner.durable.clone();
        inner.busy_until = Duration::ZERO;
    }

    /// Forgets everything, as a manager that leaves does.
    pub(crate) fn wipe(&self) {
        self.crash();
        let mut inner = lock(&self.inner);
        (inner.visible, inner.durable) = (Content::default(), Content::default());
    }

    pub(crate) fn set_slow(&self, factor: u32) {
        lock(&self.inner).slow = factor.max(1);
    }

    pub(crate) fn set_crash_point(&self, point: Option<CrashPoint>) {
        lock(&self.inner).crash_point = point;
    }
}

/// The disk in the hands of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StateDb {
    disk: Arc<Disk>,
    life: u64,
}

fn dead() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the process is dead")
}

impl StateDb {
    /// Whether the process lives.
    pub(crate) fn is_alive(&self) -> bool {
        lock(&self.disk.inner).life == self.life
    }

    fn content<T>(&self, read: impl FnOnce(&Content) -> io::Result<T>) -> io::Result<T> {
        let inner = lock(&self.disk.inner);
        if inner.life != self.life {
            return Err(dead());
        }
        read(&inner.visible)
    }

    pub(crate) fn meta<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        self.content(|content| {
            content
                .meta
                .get(name)
                .map(|bytes| decode(bytes))
                .transpose()
        })
    }

    pub(crate) fn range(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(start), Bound::Excluded(end));
        self.content(|content| {
            let found = content.log.range(range);
            Ok(found.map(|(_, entry)| Entry::clone(entry)).collect())
        })
    }

    pub(crate) fn last_entry(&self) -> io::Result<Option<Entry>> {
        self.content(|content| {
            let last = content.log.last_key_value();
            Ok(last.map(|(_, entry)| Entry::clone(entry)))
        })
    }

    /// Writes; returns when it is synced.
    pub(crate) async fn put(&self, write: Write) -> io::Result<()> {
        match self.hand(write)? {
            Some(number) => self.synced(number).await,
            None => Ok(()),
        }
    }

    /// Queues a write; gives its number, unless the disk says at once that it is done.
    fn hand(&self, write: Write) -> io::Result<Option<u64>> {
        let mut inner = lock(&self.disk.inner);
        if inner.life != self.life {
            return Err(dead());
        }
        if write.is_lied_about(self.disk.ground.sabotage) {
            inner.visible.apply(&write);
            let dies = inner.crash_point.is_some_and(|point| write.is(point));
            drop(inner);
            spawn(self.clone().sync_later(write, dies));
            return Ok(None);
        }
        inner.writes += 1;
        let number = inner.writes;
        inner.queue.push_back((number, write));
        Ok(Some(number))
    }

    async fn sync_later(self, write: Write, dies: bool) {
        if dies {
            sleep(self.disk.ground.millis(1, 150)).await;
            if self.is_alive() {
                self.disk.crash();
            }
            return;
        }
        sleep(self.disk.ground.millis(LIE.0, LIE.1)).await;
        let mut inner = lock(&self.disk.inner);
        if inner.life == self.life {
            inner.durable.apply(&write);
        }
    }

    /// Waits until the write is synced.
    async fn synced(&self, number: u64) -> io::Result<()> {
        let wait = {
            let mut inner = lock(&self.disk.inner);
            let latency = self.disk.ground.micros(100, 2000) * inner.slow;
            let start = inner.busy_until.max(elapsed());
            inner.busy_until = start + latency;
            inner.busy_until.saturating_sub(elapsed())
        };
        sleep(wait).await;
        let mut inner = lock(&self.disk.inner);
        if inner.life != self.life {
            return Err(dead());
        }
        let Some((first, write)) = inner.queue.pop_front() else {
            return Err(io::Error::other("a write was synced twice"));
        };
        if first != number {
            return Err(io::Error::other("writes were synced out of order"));
        }
        inner.visible.apply(&write);
        inner.durable.apply(&write);
        if inner.crash_point.is_some_and(|point| write.is(point)) {
            inner.crash_point = None;
            drop(inner);
            self.disk.crash();
            return Err(dead());
        }
        Ok(())
    }
}
