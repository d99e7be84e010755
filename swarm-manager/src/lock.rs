//! Keeps this manager's disk in step with the cluster's lock: carries out what `swarm_core::lock` decides, one step at a
//! time, and tells the agent what to seal the node's private key with.

use std::{io, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future};
use swarm_core::lock::{Held, KeyId, ManagerLock, NodeKeySeal, Step, next_step};
pub(crate) use swarm_core::lock::{LOCKED, NOT_LOCKED};
use swarm_proto::tls::NodeKeys;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::{
    clock::SystemRandom,
    daemon::{Manager, Running},
    raft::{
        database::{StateDb, blocking},
        node::RaftNode,
    },
};

/// Pause after a step that failed (a full disk, say), and while a write with earlier keys is under way.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How long init and join wait for the disk to be locked.
const FIRST_LOCK: Duration = Duration::from_secs(5);

/// What the state's keys and the agent tell each other.
#[derive(Debug, Default)]
pub(crate) struct KeyDesk {
    /// For the agent; nothing while there is no open state.
    keys: watch::Sender<Option<NodeKeys>>,
    /// From the agent: what the private key is sealed with, once it said so.
    sealed: watch::Sender<Option<NodeKeySeal>>,
    /// Version of the lock that the disk follows.
    followed: watch::Sender<u64>,
}

impl KeyDesk {
    /// What seals the private key, now and after each change.
    pub(crate) fn watch(&self) -> impl Stream<Item = NodeKeys> + use<> {
        WatchStream::new(self.keys.subscribe()).filter_map(future::ready)
    }

    /// The agent sealed the private key.
    pub(crate) fn sealed(&self, with: Option<KeyId>) {
        self.sealed.send_replace(Some(with));
    }

    /// There is no open state any more.
    pub(crate) fn close(&self) {
        self.keys.send_replace(None);
        self.sealed.send_replace(None);
        self.followed.send_replace(0);
    }

    fn publish(&self, keys: NodeKeys) {
        self.keys.send_if_modified(|current| {
            let new = current.as_ref() != Some(&keys);
            *current = Some(keys);
            new
        });
    }
}

/// Follows the cluster's lock until cancelled.
pub(crate) async fn keep(manager: Arc<Manager>, running: Arc<Running>) {
    let db = running.raft.db();
    let desk = &manager.desk;
    let mut applied = running.raft.store().watch();
    let mut sealed = desk.sealed.subscribe();
    loop {
        applied.mark_unchanged();
        let wanted = wanted(&running.raft);
        desk.publish(db.sealer().node_keys());
        let said = *sealed.borrow_and_update();
        let waiting = match advance(db, &wanted, said).await {
            Ok(Progress::Step) => continue,
            Ok(Progress::Rest) => None,
            Ok(Progress::Wait) => Some(RETRY_PAUSE),
            Err(error) => {
                tracing::error!(%error, "the keys on disk do not follow the cluster's lock yet");
                Some(RETRY_PAUSE)
            }
        };
        desk.followed.send_replace(db.sealer().held().0.version);
        let change = async {
            tokio::select! {
                () = lock_changed(&running.raft, &wanted, &mut applied) => {}
                _ = sealed.changed() => {}
            }
        };
        match waiting {
            None => change.await,
            Some(pause) => drop(tokio::time::timeout(pause, change).await),
        }
    }
}

/// Waits until the disk follows the lock as this manager knows it, but not for ever: an operator may be waiting.
pub(crate) async fn followed(manager: &Manager, running: &Running) {
    let version = wanted(&running.raft).version;
    let mut followed = manager.desk.followed.subscribe();
    let reached = followed.wait_for(|followed| *followed >= version);
    if tokio::time::timeout(FIRST_LOCK, reached).await.is_err() {
        tracing::warn!("the state on disk is not locked yet");
    }
}

fn wanted(raft: &RaftNode) -> ManagerLock {
    let store = raft.store().read();
    store
        .cluster()
        .map(|cluster| cluster.lock.clone())
        .unwrap_or_default()
}

/// Resolves when the cluster's lock is another one than `seen`.
async fn lock_changed(raft: &RaftNode, seen: &ManagerLock, applied: &mut watch::Receiver<u64>) {
    while wanted(raft) == *seen {
        if applied.changed().await.is_err() {
            return future::pending().await; // the manager stops
        }
    }
}

/// What came of one look.
enum Progress {
    /// Something was done; look again.
    Step,
    /// Nothing is to be done until something changes.
    Rest,
    /// A write holds earlier keys; look again later.
    Wait,
}

/// Carries out the next step, if there is one.
async fn advance(
    db: &StateDb,
    wanted: &ManagerLock,
    node_key: Option<NodeKeySeal>,
) -> io::Result<Progress> {
    let held = look(db, node_key).await?;
    let Some(step) = next_step(&held, wanted) else {
        let unknown = held.in_use.is_none();
        return Ok(if unknown {
            Progress::Wait
        } else {
            Progress::Rest
        });
    };
    match step {
        Step::Rewrap { lock, renew } => {
            let ring = if renew {
                held.ring.renewed(&mut SystemRandom)
            } else {
                held.ring
            };
            let (locked, version) = (lock.key.is_some(), lock.version);
            replace(db, lock, ring).await?;
            tracing::info!(
                locked,
                version,
                "the keys on disk follow the cluster's lock"
            );
        }
        Step::Forget { data, node } => {
            let ring = held.ring.without(&data, &node);
            replace(db, held.lock, ring).await?;
            tracing::info!(data = data.len(), node = node.len(), "older keys forgotten");
        }
        Step::Reseal => {
            let state = db.clone();
            blocking(move || state.reseal()).await?;
            let after = look(db, node_key).await?;
            if after.in_use == held.in_use {
                return Ok(Progress::Wait);
            }
        }
    }
    Ok(Progress::Step)
}

async fn look(db: &StateDb, node_key: Option<NodeKeySeal>) -> io::Result<Held> {
    let (lock, ring) = db.sealer().held();
    let in_use = if let [only] = &ring.data[..] {
        Some([only.id].into())
    } else {
        let db = db.clone();
        blocking(move || db.keys_in_use()).await?
    };
    Ok(Held {
        lock,
        ring,
        in_use,
        node_key,
    })
}

async fn replace(
    db: &StateDb,
    lock: ManagerLock,
    ring: swarm_core::lock::KeyRing,
) -> io::Result<()> {
    let sealer = db.sealer().clone();
    blocking(move || sealer.replace(lock, ring).map_err(io::Error::other)).await
}
