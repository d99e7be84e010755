//! The one loop of a leading manager: take events, call core, commit what it decides. Everything it decides from is in the
//! replicated store or in `swarm_core::leader::Leader`, which is made anew by every new leader.

mod event;
mod reports;

use std::time::Duration;

use openraft::{async_runtime::watch::WatchReceiver as _, type_config::TypeConfigExt as _};
use swarm_core::{
    control::{self, Code, ControlError, MemberFix},
    leader::{Leader, Report},
    store::Transaction,
};
use tokio::sync::{mpsc, watch};

pub use self::event::{DriveHandle, Event, Registration};
use self::reports::Reports;
use crate::{
    node::{Leadership, RaftNode},
    platform::Platform,
    timing::RETRY_PAUSE,
};

/// Events that may wait while a commit is under way.
const QUEUE: usize = 4096;

/// The loop, to be run until the manager stops, and the way to it.
pub fn new<P: Platform>(raft: RaftNode<P>) -> (DriveHandle, Drive<P>) {
    let (sender, events) = mpsc::channel(QUEUE);
    let (leads, leading) = watch::channel(false);
    let handle = DriveHandle {
        events: sender,
        leading,
    };
    let drive = Drive {
        raft,
        events,
        leads,
    };
    (handle, drive)
}

/// The loop of one manager; waits while another one leads.
#[derive(Debug)]
pub struct Drive<P: Platform> {
    raft: RaftNode<P>,
    events: mpsc::Receiver<Event>,
    leads: watch::Sender<bool>,
}

/// Why the loop went round.
enum Wake {
    Look,
    Event(Event),
    Ended,
}

impl<P: Platform> Drive<P> {
    /// Runs until the consensus ends.
    pub async fn run(mut self) {
        while let Some(term) = self.await_leadership().await {
            tracing::info!(term, "this manager leads");
            if let Err(error) = self.raft.linearize().await {
                tracing::warn!(%error, "leadership was lost before it began");
                P::Types::sleep(RETRY_PAUSE).await;
                continue;
            }
            self.leads.send_replace(true);
            let raft = self.raft.clone();
            tokio::select! {
                biased;
                () = raft.until_deposed(term) => {}
                () = self.lead() => {}
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
                biased;
                changed = metrics.changed() => changed.ok()?,
                event = self.events.recv() => drop(event?),
            }
        }
    }

    /// Decides and writes; to be dropped when this manager no longer leads, also while a write waits for a majority in vain.
    async fn lead(&mut self) {
        let mut leader = Leader::new(self.raft.now());
        let mut reports = Reports::default();
        let mut applied = self.raft.store().watch();
        let mut metrics = self.raft.raft().server_metrics();
        loop {
            applied.mark_unchanged();
            while !reports.is_full()
                && let Ok(event) = self.events.try_recv()
            {
                self.handle(&mut leader, &mut reports, event);
            }
            let now = self.raft.now();
            if reports.due(now).is_some_and(|due| due <= now) {
                reports.write(&self.raft, &mut leader).await;
                continue;
            }
            let step = self.step(&mut leader);
            if let Some(transaction) = step.transaction {
                self.commit(transaction).await;
                continue;
            }
            self.reconcile_members().await;
            let now = self.raft.now();
            let moments = [step.wake_at, reports.due(now)];
            let next = moments.into_iter().flatten().min();
            let rest = next.map(|next| next.since(now));
            let wake = tokio::select! {
                biased;
                event = self.events.recv(), if !reports.is_full() => {
                    event.map_or(Wake::Ended, Wake::Event)
                }
                changed = applied.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                changed = metrics.changed() => changed.map_or(Wake::Ended, |()| Wake::Look),
                () = sleep::<P>(rest) => Wake::Look,
            };
            match wake {
                Wake::Look => {}
                Wake::Event(event) => self.handle(&mut leader, &mut reports, event),
                Wake::Ended => return,
            }
        }
    }

    fn step(&self, leader: &mut Leader) -> swarm_core::leader::Step {
        let mut random = self.raft.platform().random();
        leader.step(&self.raft.store().read(), self.raft.now(), &mut random)
    }

    /// Commits what the controllers decided; after a refusal they look again. That somebody else wrote first is nothing special.
    async fn commit(&self, transaction: Transaction) {
        let Err(error) = self.raft.propose(transaction).await else {
            return;
        };
        if error.code == Code::Aborted {
            tracing::debug!(%error, "decision was overtaken");
        } else {
            tracing::warn!(%error, "what the leader decided is not written");
        }
        P::Types::sleep(RETRY_PAUSE).await;
    }

    /// Takes an event: what it changes in the store waits for the next write.
    fn handle(&self, leader: &mut Leader, reports: &mut Reports, event: Event) {
        let (store, now) = (self.raft.store(), self.raft.now());
        match event {
            Event::Register(registration) => reports.register(*registration),
            Event::Heartbeat {
                node,
                session,
                current,
            } => {
                let known = leader.heartbeat(&store.read(), &node, &session, now);
                if current.send(known).is_err() {
                    tracing::debug!(%node, "session ended while its heartbeat was counted");
                }
            }
            Event::Closed { node, session, why } => {
                if leader.close_session(&store.read(), &node, &session, now) {
                    reports.add(node, Report::Left(why));
                }
            }
            Event::Statuses { node, reports: all } => {
                for report in Report::tasks(all) {
                    reports.add(node.clone(), report);
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
        let Ok(_alone) = self.raft.changing.try_lock() else {
            return;
        };
        if let Err(error) = self.raft.settle().await {
            tracing::warn!(%error, "the managers still need two majorities");
            P::Types::sleep(RETRY_PAUSE).await;
            return;
        }
        let fixes = {
            let members = match self.raft.members_for_core() {
                Ok(members) => members,
                Err(error) => {
                    tracing::warn!(%error, "the managers are left as they are");
                    return;
                }
            };
            control::member_fixes(&self.raft.store().read(), &members, self.raft.raft_id())
        };
        for fix in fixes {
            if let Err(error) = self.fix_member(&fix).await {
                tracing::warn!(?fix, %error, "the managers are not yet as they should be");
                P::Types::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn fix_member(&self, fix: &MemberFix) -> Result<(), ControlError> {
        tracing::info!(?fix, "members of Raft and nodes do not agree");
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
                let (store, now) = (self.raft.store(), self.raft.now());
                let recorded = control::set_manager(&store.read(), node, manager.clone(), now)?;
                self.raft.propose(recorded).await
            }
        }
    }
}

async fn sleep<P: Platform>(rest: Option<Duration>) {
    match rest {
        Some(rest) => P::Types::sleep(rest).await,
        None => std::future::pending().await,
    }
}
