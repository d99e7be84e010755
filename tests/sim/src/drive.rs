//! The loop of a leading manager, as in `swarm-manager`'s `drive.rs`: take events, call core's leader, commit what it decides.

use std::{net::IpAddr, sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver as _;
use swarm_core::{
    control::{self, Code, ControlError, MemberFix},
    id::{NodeId, TaskId},
    leader::{Leader, Left, SessionId},
    model::{NodeDescription, TaskStatus},
    store::{Change, Object, Store, Transaction},
    time::Timestamp,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    ground::{Sabotage, sleep, spawn},
    manager::Process,
};

const RETRY_PAUSE: Duration = Duration::from_millis(50);
const WRITE_ATTEMPTS: u32 = 5;

/// What the leader hears from the sessions of agents.
#[derive(Debug)]
pub(crate) enum Event {
    Register {
        node: NodeId,
        session: SessionId,
        description: Box<NodeDescription>,
        addr: IpAddr,
        reply: oneshot::Sender<Result<(), ControlError>>,
    },
    Heartbeat {
        node: NodeId,
        session: SessionId,
        current: oneshot::Sender<bool>,
    },
    Closed {
        node: NodeId,
        session: SessionId,
    },
    Statuses {
        node: NodeId,
        reports: Vec<(TaskId, TaskStatus)>,
    },
    Sent {
        node: NodeId,
        generation: u64,
        index: u64,
    },
    Programmed {
        node: NodeId,
        generation: u64,
    },
}

enum Wake {
    Look,
    Event(Event),
    Ended,
}

/// Starts the loop; it ends with the process.
pub(crate) fn start(process: Arc<Process>, events: mpsc::Receiver<Event>) {
    let drive = Drive { process, events };
    spawn(drive.run());
}

struct Drive {
    process: Arc<Process>,
    events: mpsc::Receiver<Event>,
}

impl Drive {
    async fn run(mut self) {
        while let Some(term) = self.await_leadership().await {
            self.trace(format_args!("leads in term {term}"));
            if self.process.linearize().await.is_err() {
                sleep(RETRY_PAUSE).await;
                continue;
            }
            self.lead(term).await;
            self.trace(format_args!("no longer leads in term {term}"));
        }
    }

    fn trace(&self, what: std::fmt::Arguments<'_>) {
        let process = &self.process;
        process
            .cluster
            .ground
            .trace(format_args!("{process:?} {what}"));
    }

    async fn await_leadership(&mut self) -> Option<u64> {
        let mut metrics = self.process.raft.server_metrics();
        loop {
            if !self.process.is_alive() {
                return None;
            }
            if let Some(term) = self.process.leads() {
                return Some(term);
            }
            tokio::select! {
                biased;
                changed = metrics.changed() => changed.ok()?,
                event = self.events.recv() => drop(event?),
            }
        }
    }

    async fn lead(&mut self, term: u64) {
        let process = Arc::clone(&self.process);
        let mut leader = Leader::new(process.now());
        let mut applied = process.store.watch();
        let mut metrics = process.raft.server_metrics();
        loop {
            if process.leads() != Some(term) {
                return;
            }
            applied.mark_unchanged();
            while let Ok(event) = self.events.try_recv() {
                self.handle(&mut leader, event).await;
            }
            let step = leader.step(&process.store.read(), process.now(), &mut process.dice());
            if let Some(transaction) = step.transaction {
                self.commit(transaction).await;
                continue;
            }
            self.reconcile_members().await;
            let wake = tokio::select! {
                biased;
                event = self.events.recv() => event.map_or(Wake::Ended, Wake::Event),
                changed = applied.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                changed = metrics.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                () = sleep_until(step.wake_at, process.now()) => Wake::Look,
            };
            match wake {
                Wake::Look => {}
                Wake::Event(event) => self.handle(&mut leader, event).await,
                Wake::Ended => return,
            }
        }
    }

    async fn commit(&self, mut transaction: Transaction) {
        let process = &self.process;
        if process.cluster.ground.sabotage == Some(Sabotage::AddressTwice) {
            give_address_twice(&mut transaction, &process.store.read());
        }
        if process.propose(transaction).await.is_err() {
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn handle(&self, leader: &mut Leader, event: Event) {
        let process = &self.process;
        match event {
            Event::Register {
                node,
                session,
                description,
                addr,
                reply,
            } => {
                let outcome = self
                    .register(leader, &node, &session, &description, addr)
                    .await;
                if reply.send(outcome).is_err() {
                    self.trace(format_args!("session of {node} ended as it began"));
                }
            }
            Event::Heartbeat {
                node,
                session,
                current,
            } => {
                let store = process.store.read();
                let known = leader.heartbeat(&store, &node, &session, process.now());
                if current.send(known).is_err() {
                    self.trace(format_args!("heartbeat of a session that ended"));
                }
            }
            Event::Closed { node, session } => {
                let transaction = {
                    let (store, now) = (process.store.read(), process.now());
                    leader.session_closed(&store, &node, &session, Left::Closed, now)
                };
                self.write(|_store| transaction.clone()).await;
            }
            Event::Statuses { node, reports } => {
                let leader = &*leader;
                self.write(|store| {
                    leader.task_statuses(store, &node, reports.clone(), process.now())
                })
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

    async fn register(
        &self,
        leader: &mut Leader,
        node: &NodeId,
        session: &SessionId,
        description: &NodeDescription,
        addr: IpAddr,
    ) -> Result<(), ControlError> {
        let process = &self.process;
        let mut outcome = Ok(());
        for _attempt in 0..WRITE_ATTEMPTS {
            let decided = {
                let (store, addr) = (process.store.read(), Some(addr));
                let (session, description) = (session.clone(), description.clone());
                leader.register(
                    &store,
                    node,
                    session,
                    description,
                    addr,
                    addr,
                    process.now(),
                )
            };
            outcome = match decided {
                Ok(transaction) => process.propose(transaction).await.map(drop),
                Err(refusal) => Err(refusal),
            };
            match &outcome {
                Err(error) if error.code == Code::Unknown => {} // overtaken: decide again
                Ok(()) | Err(_) => break,
            }
        }
        outcome
    }

    async fn write(&self, decide: impl Fn(&Store) -> Transaction) {
        for _attempt in 0..WRITE_ATTEMPTS {
            let transaction = decide(&self.process.store.read());
            match self.process.propose(transaction).await {
                Err(error) if error.code == Code::Unknown => {}
                Ok(_) => return,
                Err(error) => {
                    self.trace(format_args!("report of an agent is lost: {error}"));
                    return;
                }
            }
        }
    }

    /// Takes managers that are to be workers out of Raft, and finishes or undoes what a crash cut short.
    async fn reconcile_members(&self) {
        let process = &self.process;
        let Ok(_alone) = process.members.try_lock() else {
            return;
        };
        let fixes = {
            let members = process.raft_members();
            control::member_fixes(&process.store.read(), &members, process.raft_id)
        };
        for fix in fixes {
            if let Err(error) = self.fix_member(&fix).await {
                self.trace(format_args!("{fix:?}: {error}"));
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn fix_member(&self, fix: &MemberFix) -> Result<(), ControlError> {
        let process = &self.process;
        match fix {
            MemberFix::HandOver => match process.hand_over().await {
                Some(_) => Ok(()),
                None => Err(ControlError::new(Code::Unavailable, "nobody takes over")),
            },
            MemberFix::Remove { raft_id } => process.remove_member(*raft_id).await,
            MemberFix::Record { node, manager } => {
                let now = process.now();
                let recorded =
                    control::set_manager(&process.store.read(), node, manager.clone(), now)?;
                process.propose(recorded).await.map(drop)
            }
        }
    }
}

async fn sleep_until(moment: Option<Timestamp>, now: Timestamp) {
    match moment {
        Some(moment) => sleep(moment.since(now)).await,
        None => std::future::pending().await,
    }
}

/// What an allocator would do that forgets what it has given.
fn give_address_twice(transaction: &mut Transaction, store: &Store) {
    for change in &mut transaction.changes {
        let Change::Put {
            object: Object::Task(task),
            ..
        } = change
        else {
            continue;
        };
        for attachment in &mut task.attachments {
            let others = store.tasks().filter(|other| other.id != task.id);
            let mut held = others
                .filter(|other| !other.status.state.is_terminal())
                .flat_map(|other| &other.attachments);
            if let Some(taken) = held.find(|held| held.network == attachment.network) {
                attachment.address = taken.address;
            }
        }
    }
}
