//! What agents told and is not written yet. One proposal carries everything that waits, in the order it came; who registered
//! gets the answer when that is committed.

use std::collections::VecDeque;

use openraft::type_config::TypeConfigExt as _;
use swarm_core::{
    control::{Code, ControlError},
    id::NodeId,
    leader::{Leader, Left, Pace, Report},
    time::Timestamp,
};
use tokio::sync::oneshot;

use super::event::Registration;
use crate::{node::RaftNode, platform::Platform, timing::RETRY_PAUSE};

/// Attempts after which the pause before the next one grows no more.
const PAUSES: u32 = 16;

/// Reports that may wait. Nodes are written a thousand at a time, ten times a second.
const MAX_WAITING: usize = 20_000;

/// The reports that wait.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: VecDeque<Waiting>,
    pace: Pace,
    /// Times the first of them could not be written, up to [`PAUSES`].
    attempts: u32,
}

#[derive(Debug)]
struct Waiting {
    node: NodeId,
    report: Report,
    reply: Option<oneshot::Sender<Result<(), ControlError>>>,
}

impl Reports {
    pub(super) fn add(&mut self, node: NodeId, report: Report) {
        self.waiting.push_back(Waiting {
            node,
            report,
            reply: None,
        });
    }

    pub(super) fn register(&mut self, registration: Registration) {
        let report = Report::Registered {
            session: registration.session,
            description: registration.description,
            addr: registration.addr,
            data_path_addr: registration.data_path_addr,
        };
        self.waiting.push_back(Waiting {
            node: registration.node,
            report,
            reply: Some(registration.reply),
        });
    }

    /// Whether no more may wait: the queue of events fills up then, and the sessions behind it read no more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// When they are to be written; `None` if there are none.
    pub(super) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.waiting.is_empty()).then(|| self.pace.due(now))
    }

    /// Writes the first of them, as many as one transaction takes. Those that cannot be written now stay: an agent tells nothing
    /// twice while its session lasts, and a leader that no majority answers for a moment ends no session.
    pub(super) async fn write<P: Platform>(&mut self, raft: &RaftNode<P>, leader: &mut Leader) {
        self.pace.written(raft.now());
        let decided = {
            let store = raft.store().read();
            let reports = self.waiting.iter().map(|one| (&one.node, &one.report));
            leader.decide_reports(&store, reports, raft.now())
        };
        let written = raft.propose(decided.transaction).await;
        if let Err(error) = &written {
            if is_passing(error) {
                tracing::debug!(%error, "reports of agents wait");
                self.attempts = (self.attempts + 1).min(PAUSES);
                P::Types::sleep(RETRY_PAUSE / PAUSES * self.attempts).await;
                return;
            }
            tracing::warn!(%error, reports = decided.outcomes.len(), "reports of agents are lost");
        }
        self.attempts = 0;
        if written.is_ok() {
            leader.open_sessions(&raft.store().read(), decided.sessions, raft.now());
        }
        let done: Vec<Waiting> = self.waiting.drain(..decided.outcomes.len()).collect();
        for (one, outcome) in done.into_iter().zip(decided.outcomes) {
            let outcome = outcome.and_then(|()| written.clone());
            self.answer(raft, leader, one, outcome);
        }
    }

    /// Tells who registered; one that did not wait for the answer has left.
    fn answer<P: Platform>(
        &mut self,
        raft: &RaftNode<P>,
        leader: &mut Leader,
        one: Waiting,
        outcome: Result<(), ControlError>,
    ) {
        let Some(reply) = one.reply else {
            return;
        };
        let failed = outcome.is_err();
        if reply.send(outcome).is_ok() || failed {
            return;
        }
        tracing::debug!(node = %one.node, "session ended while it was registered");
        if let Report::Registered { session, .. } = &one.report
            && leader.close_session(&raft.store().read(), &one.node, session, raft.now())
        {
            self.add(one.node, Report::Left(Left::Closed));
        }
    }
}

/// Whether the same reports can be written later: another writer was first, or no majority answers just now. A leader that is
/// replaced drops them and ends all sessions.
fn is_passing(error: &ControlError) -> bool {
    matches!(
        error.code,
        Code::Aborted | Code::Unavailable | Code::DeadlineExceeded
    )
}
