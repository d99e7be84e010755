//! The one loop of a leading manager: take events, call core, commit what it decides. Everything it decides from is in the
//! replicated store or in `swarm_core::leader::Leader`, which is made anew by every new leader.

mod reports;

use std::{net::IpAddr, sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver as _;
use swarm_core::{
    control::{self, Code, ControlError, MemberFix, RaftMember},
    id::{NodeId, TaskId},
    leader::{Leader, Left, MAX_TASKS, Report, SessionId},
    model::{NodeDescription, TaskStatus},
    store::Transaction,
    time::Timestamp,
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use self::reports::Reports;
use crate::{
    clock::{SystemRandom, now},
    raft::node::{Leadership, NO_LEADER, RaftNode},
};

/// Events that may wait while a commit is under way.
const QUEUE: usize = 4096;
/// Pause after a proposal was refused, so that a lost race is not a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

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
    leading: watch::Receiver<bool>,
}

impl DriveHandle {
    /// Hands an event to the loop; it is dropped if this manager does not lead.
    pub(crate) async fn send(&self, event: Event) -> Result<(), ControlError> {
        self.events
            .send(event)
            .await
            .map_err(|_| ControlError::new(Code::Unavailable, "the manager is stopping"))
    }

    /// Whether the loop leads. It stops when another manager was elected or no majority answers, and all sessions end with it.
    pub(crate) fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
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
    let (leads, leading) = watch::channel(false);
    let drive = Drive {
        raft,
        members,
        events,
        leads,
    };
    tokio::spawn(async move {
        stop.run_until_cancelled(drive.run()).await;
    });
    DriveHandle {
        events: sender,
        leading,
    }
}

struct Drive {
    raft: RaftNode,
    /// One change of the members at a time.
    members: Arc<Mutex<()>>,
    events: mpsc::Receiver<Event>,
    leads: watch::Sender<bool>,
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
            self.leads.send_replace(true);
            let raft = self.raft.clone();
            tokio::select! {
                () = self.lead() => {}
                () = raft.until_deposed(term) => {}
            }
            self.leads.send_replace(false);
            tracing::info!(term, "this manager no longer leads");
        }
    }

    /// Waits until this manager leads; gives the term. Events are dropped meanwhile, which ends their sessions.
    async fn await_leadership(&mut self) -> Option<u64> {
        let mut metrics = self.raft.raft().metrics();
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

    /// Decides and writes; to be dropped when this manager no longer leads, also while a write waits for a majority in vain.
    async fn lead(&mut self) {
        let mut leader = Leader::new(now());
        let mut reports = Reports::default();
        let mut applied = self.raft.store().watch();
        let mut metrics = self.raft.raft().server_metrics();
        loop {
            applied.mark_unchanged();
            while let Ok(event) = self.events.try_recv() {
                self.handle(&mut leader, &mut reports, event);
            }
            if reports.due(now()).is_some_and(|due| due <= now()) {
                reports.write(&self.raft, &mut leader).await;
                continue;
            }
            let step = leader.step(&self.raft.store().read(), now(), &mut SystemRandom);
            if let Some(transaction) = step.transaction {
                self.commit(transaction).await;
                continue;
            }
            self.reconcile_members().await;
            let moments = [step.wake_at, reports.due(now())];
            let next = moments.into_iter().flatten().min();
            let wake = tokio::select! {
                event = self.events.recv() => event.map_or(Wake::Ended, Wake::Event),
                changed = applied.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                changed = metrics.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                () = sleep_until(next) => Wake::Look,
            };
            match wake {
                Wake::Look => {}
                Wake::Event(event) => self.handle(&mut leader, &mut reports, event),
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

    /// Takes an event: what it changes in the store waits for the next write.
    fn handle(&self, leader: &mut Leader, reports: &mut Reports, event: Event) {
        match event {
            Event::Register(registration) => reports.register(*registration),
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
                if leader.close_session(&self.raft.store().read(), &node, &session, now()) {
                    reports.add(node, Report::Left(why));
                }
            }
            Event::Statuses { node, reports: all } => {
                for some in all.chunks(MAX_TASKS) {
                    reports.add(node.clone(), Report::Tasks(some.to_vec()));
                }
            }
            Event::Description { node, description } => {
                reports.add(node, Report::Described(*description));
            }
            Event::Sent {
                node,
                generation,
                index,
            } => leader.assignments_sent(&node, generation, index),
            Event::Programmed { node, generation } => leader.programmed(&node, generation),
        }
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

async fn sleep_until(moment: Option<Timestamp>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.since(now())).await,
        None => std::future::pending().await,
    }
}
