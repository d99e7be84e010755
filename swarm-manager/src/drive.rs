//! The one loop of a leading manager: take events, call core, commit what it decides. Everything it decides from is in the
//! replicated store or in `swarm_core::leader::Leader`, which is made anew by every new leader.

use std::{net::IpAddr, sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver as _;
use swarm_core::{
    control::{self, Code, ControlError, MemberFix, RaftMember},
    id::{NodeId, TaskId},
    leader::{Leader, Left, SessionId},
    model::{NodeDescription, TaskStatus},
    store::{Object, Transaction},
    time::Timestamp,
};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    clock::{SystemRandom, now},
    raft::node::{Leadership, NO_LEADER, RaftNode},
};

/// Events that may wait while a commit is under way.
const QUEUE: usize = 4096;
/// Pause after a proposal was refused, so that a lost race is not a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Attempts to write what an agent reported when others write the same objects.
const WRITE_ATTEMPTS: u32 = 5;

/// What the leader hears from the sessions of agents.
#[derive(Debug)]
pub(crate) enum Event {
    /// A session begins.
    Register(Box<Registration>),
    /// An agent was heard from; answers whether its session is the current one.
    Heartbeat {
        node: NodeId,
        session: SessionId,
        current: oneshot::Sender<bool>,
    },
    /// A session ended.
    Closed {
        node: NodeId,
        session: SessionId,
        why: Left,
    },
    /// States of tasks.
    Statuses {
        node: NodeId,
        reports: Vec<(TaskId, TaskStatus)>,
    },
    /// A host changed.
    Description {
        node: NodeId,
        description: Box<NodeDescription>,
    },
    /// Assignments were sent; they reflect the store at `index`.
    Sent {
        node: NodeId,
        generation: u64,
        index: u64,
    },
    /// A node's kernel holds this generation.
    Programmed { node: NodeId, generation: u64 },
}

/// A session that begins.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) node: NodeId,
    pub(crate) session: SessionId,
    pub(crate) description: NodeDescription,
    pub(crate) addr: Option<IpAddr>,
    pub(crate) data_path_addr: Option<IpAddr>,
    pub(crate) reply: oneshot::Sender<Result<(), ControlError>>,
}

/// The way to the loop.
#[derive(Clone, Debug)]
pub(crate) struct DriveHandle {
    events: mpsc::Sender<Event>,
}

impl DriveHandle {
    /// Hands an event to the loop; it is dropped if this manager does not lead.
    pub(crate) async fn send(&self, event: Event) -> Result<(), ControlError> {
        self.events
            .send(event)
            .await
            .map_err(|_| ControlError::new(Code::Unavailable, "the manager is stopping"))
    }

    /// Begins a session.
    pub(crate) async fn register(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<(), ControlError>>) -> Registration,
    ) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Register(Box::new(make(reply)))).await?;
        answer
            .await
            .map_err(|_| ControlError::new(Code::Unavailable, NO_LEADER))?
    }

    /// Whether a session is still the current one.
    pub(crate) async fn heartbeat(&self, node: NodeId, session: SessionId) -> bool {
        let (current, answer) = oneshot::channel();
        let event = Event::Heartbeat {
            node,
            session,
            current,
        };
        self.send(event).await.is_ok() && answer.await.unwrap_or(false)
    }
}

/// Starts the loop; it ends when `stop` is notified.
pub(crate) fn start(
    raft: RaftNode,
    members: Arc<Mutex<()>>,
    stop: tokio_util::sync::CancellationToken,
) -> DriveHandle {
    let (sender, events) = mpsc::channel(QUEUE);
    let drive = Drive {
        raft,
        members,
        events,
    };
    tokio::spawn(async move {
        stop.run_until_cancelled(drive.run()).await;
    });
    DriveHandle { events: sender }
}

struct Drive {
    raft: RaftNode,
    /// One change of the members at a time.
    members: Arc<Mutex<()>>,
    events: mpsc::Receiver<Event>,
}

/// Why the loop went round.
enum Wake {
    Look,
    Event(Event),
    Ended,
}

impl Drive {
    async fn run(mut self) {
        while let Some(term) = self.await_leadership().await {
            tracing::info!(term, "this manager leads");
            if let Err(error) = self.raft.linearize().await {
                tracing::warn!(%error, "leadership was lost before it began");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            self.lead(term).await;
            tracing::info!(term, "this manager no longer leads");
        }
    }

    /// Waits until this manager leads; gives the term. Events are dropped meanwhile, which ends their sessions.
    async fn await_leadership(&mut self) -> Option<u64> {
        let mut metrics = self.raft.raft().server_metrics();
        loop {
            if let Leadership::Here { term } = self.raft.leadership() {
                return Some(term);
            }
            tokio::select! {
                changed = metrics.changed() => changed.ok()?,
                event = self.events.recv() => drop(event?),
            }
        }
    }

    async fn lead(&mut self, term: u64) {
        let mut leader = Leader::new(now());
        let mut applied = self.raft.store().watch();
        let mut metrics = self.raft.raft().server_metrics();
        loop {
            if self.raft.leadership() != (Leadership::Here { term }) {
                return;
            }
            applied.mark_unchanged();
            while let Ok(event) = self.events.try_recv() {
                self.handle(&mut leader, event).await;
            }
            let step = leader.step(&self.raft.store().read(), now(), &mut SystemRandom);
            if let Some(transaction) = step.transaction {
                self.commit(transaction).await;
                continue;
            }
            self.reconcile_members().await;
            let wake = tokio::select! {
                event = self.events.recv() => event.map_or(Wake::Ended, Wake::Event),
                changed = applied.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                changed = metrics.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                () = sleep_until(step.wake_at) => Wake::Look,
            };
            match wake {
                Wake::Look => {}
                Wake::Event(event) => self.handle(&mut leader, event).await,
                Wake::Ended => return,
            }
        }
    }

    /// Commits what the controllers decided. A refusal means that somebody else wrote first: they look again.
    async fn commit(&self, transaction: Transaction) {
        if let Err(error) = self.raft.propose(transaction).await {
            tracing::debug!(%error, "decision was overtaken");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn handle(&self, leader: &mut Leader, event: Event) {
        match event {
            Event::Register(registration) => self.register(leader, *registration).await,
            Event::Heartbeat {
                node,
                session,
                current,
            } => {
                let known = leader.heartbeat(&self.raft.store().read(), &node, &session, now());
                if current.send(known).is_err() {
                    tracing::debug!(%node, "session ended while its heartbeat was counted");
                }
            }
            Event::Closed { node, session, why } => {
                let transaction = {
                    let store = self.raft.store().read();
                    leader.session_closed(&store, &node, &session, why, now())
                };
                self.write(&node, |_store| transaction.clone()).await;
            }
            Event::Statuses { node, reports } => {
                let leader = &*leader;
                self.write(&node, |store| {
                    leader.task_statuses(store, &node, reports.clone(), now())
                })
                .await;
            }
            Event::Description { node, description } => {
                self.write(&node, |store| describe(store, &node, &description))
                    .await;
            }
            Event::Sent {
                node,
                generation,
                index,
            } => leader.assignments_sent(&node, generation, index),
            Event::Programmed { node, generation } => leader.programmed(&node, generation),
        }
    }

    async fn register(&self, leader: &mut Leader, registration: Registration) {
        let Registration {
            node,
            session,
            description,
            addr,
            data_path_addr,
            reply,
        } = registration;
        let mut outcome = Ok(());
        for _attempt in 0..WRITE_ATTEMPTS {
            let decided = {
                let store = self.raft.store().read();
                let (session, description) = (session.clone(), description.clone());
                leader.register(
                    &store,
                    &node,
                    session,
                    description,
                    addr,
                    data_path_addr,
                    now(),
                )
            };
            outcome = match decided {
                Ok(transaction) => self.raft.propose(transaction).await,
                Err(refusal) => Err(refusal),
            };
            match &outcome {
                Err(error) if error.code == Code::Unknown => {} // overtaken: decide again
                Ok(()) | Err(_) => break,
            }
        }
        if reply.send(outcome).is_err() {
            tracing::debug!(%node, "session ended while it was registered");
        }
    }

    /// Writes what an agent reported; decides again when somebody else wrote the same objects first.
    async fn write(
        &self,
        node: &NodeId,
        decide: impl Fn(&swarm_core::store::Store) -> Transaction,
    ) {
        for _attempt in 0..WRITE_ATTEMPTS {
            let transaction = decide(&self.raft.store().read());
            match self.raft.propose(transaction).await {
                Ok(()) => return,
                Err(error) if error.code == Code::Unknown => {}
                Err(error) => {
                    tracing::warn!(%node, %error, "report of an agent is lost");
                    return;
                }
            }
        }
        tracing::warn!(%node, attempts = WRITE_ATTEMPTS, "report of an agent was overtaken");
    }

    /// Takes managers that are to be workers out of Raft, and finishes or undoes what a crash cut short. A join that is under
    /// way has its turn first; this is called again when it is over.
    async fn reconcile_members(&self) {
        let Ok(_alone) = self.members.try_lock() else {
            return;
        };
        let fixes = {
            let members = raft_members(&self.raft);
            let this = self.raft.this().raft_id;
            control::member_fixes(&self.raft.store().read(), &members, this)
        };
        for fix in fixes {
            if let Err(error) = self.fix_member(&fix).await {
                tracing::warn!(?fix, %error, "the managers are not yet as they should be");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn fix_member(&self, fix: &MemberFix) -> Result<(), ControlError> {
        match fix {
            // The next leader finishes it.
            MemberFix::HandOver => match self.raft.hand_over().await {
                Some(_heir) => Ok(()),
                None => Err(ControlError::new(
                    Code::Unavailable,
                    "nobody can take over the leadership of this demoted manager",
                )),
            },
            MemberFix::Remove { raft_id } => self.raft.remove_member(*raft_id).await,
            MemberFix::Record { node, manager } => {
                let store = self.raft.store();
                let recorded = control::set_manager(&store.read(), node, manager.clone(), now())?;
                self.raft.propose(recorded).await
            }
        }
    }
}

/// Raft's members as core knows them. One whose record cannot be read is left alone.
fn raft_members(raft: &RaftNode) -> Vec<RaftMember> {
    let voters = raft.voters();
    let members = raft.members().into_iter();
    members
        .filter_map(|(raft_id, member)| {
            Some(RaftMember {
                raft_id,
                node: member.node_id.parse().ok()?,
                addr: member.addr.parse().ok()?,
                voter: voters.contains_key(&raft_id),
            })
        })
        .collect()
}

/// Ends a manager's membership and says so in its node object.
pub(crate) async fn remove_member(
    raft: &RaftNode,
    node: &NodeId,
    raft_id: u64,
) -> Result<(), ControlError> {
    raft.remove_member(raft_id).await?;
    let transaction = control::set_manager(&raft.store().read(), node, None, now())?;
    raft.propose(transaction).await
}

fn describe(
    store: &swarm_core::store::Store,
    node: &NodeId,
    description: &NodeDescription,
) -> Transaction {
    let unchanged = Transaction::new(now());
    let Some(stored) = store.node(node) else {
        return unchanged;
    };
    if stored.description.as_ref() == Some(description) {
        return unchanged;
    }
    let mut next = stored.clone();
    next.description = Some(description.clone());
    unchanged.put(Object::Node(next), stored.meta.version)
}

async fn sleep_until(moment: Option<Timestamp>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.since(now())).await,
        None => std::future::pending().await,
    }
}
