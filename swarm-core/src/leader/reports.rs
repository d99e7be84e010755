//! What agents tell, written together: one transaction carries the reports of many nodes, so that ten thousand tasks that
//! start cost a few writes and not ten thousand. SwarmKit collects for 100 ms; here the first report after a quiet time is
//! written at once, and what arrives during the next 100 ms waits for their end. Heartbeats are never written.

use alloc::vec::Vec;
use core::{net::IpAddr, time::Duration};

use super::{Leader, Left, SessionId, session};
use crate::{
    control::ControlError,
    id::{NodeId, TaskId},
    model::{Node, NodeDescription, NodeState, TaskStatus},
    store::{Draft, Store, Transaction},
    time::Timestamp,
};

/// Shortest time between two writes of reports.
const PACE: Duration = Duration::from_millis(100);
/// Tasks of one report at most; longer lists are to be cut.
pub const MAX_TASKS: usize = 256;

/// Something an agent told that may change the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It opened a session.
    Registered {
        /// The new session; an older one of the node counts no more.
        session: SessionId,
        /// The host.
        description: NodeDescription,
        /// Where it calls from.
        addr: Option<IpAddr>,
        /// Where its data path is reached.
        data_path_addr: Option<IpAddr>,
    },
    /// Its session ended, see [`Leader::close_session`].
    Left(Left),
    /// The host changed.
    Described(NodeDescription),
    /// States of at most [`MAX_TASKS`] tasks.
    Tasks(Vec<(TaskId, TaskStatus)>),
}

/// When reports are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    last: Option<Timestamp>,
}

impl Pace {
    /// Reports that wait are to be written at this moment.
    pub fn due(&self, now: Timestamp) -> Timestamp {
        // A clock that was set back must not hold reports up.
        self.last
            .filter(|last| *last <= now)
            .map_or(now, |last| last + PACE)
    }

    /// Reports were written.
    pub fn written(&mut self, now: Timestamp) {
        self.last = Some(now);
    }
}

/// One transaction for the first of the reports that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// To be proposed; may be empty.
    pub transaction: Transaction,
    /// What became of each report that is part of it, in order; the others did not fit.
    pub outcomes: Vec<Result<(), ControlError>>,
}

impl Leader {
    /// Decides on reports in the order they came. May be called again with the same reports when the transaction was refused.
    pub fn decide_reports<'r>(
        &mut self,
        store: &Store,
        reports: impl Iterator<Item = (&'r NodeId, &'r Report)>,
        now: Timestamp,
    ) -> Decided {
        let mut draft = Draft::new(store, now);
        let mut outcomes = Vec::new();
        for (node, report) in reports {
            if draft.is_full() {
                break;
            }
            outcomes.push(self.decide_report(&mut draft, node, report));
        }
        Decided {
            transaction: draft.into_transaction(),
            outcomes,
        }
    }

    fn decide_report(
        &mut self,
        draft: &mut Draft<'_>,
        node: &NodeId,
        report: &Report,
    ) -> Result<(), ControlError> {
        match report {
            Report::Registered {
                session,
                description,
                addr,
                data_path_addr,
            } => {
                let stored = session::find(draft.node(node), node)?;
                let mut next = session::moved(stored, NodeState::Ready, "", draft.now());
                next.description = Some(description.clone());
                next.status.addr = addr.or(next.status.addr);
                next.status.data_path_addr = data_path_addr.or(next.status.data_path_addr);
                self.open_session(draft.cluster(), node, session.clone(), draft.now());
                draft.put_node(next);
            }
            Report::Left(why) => {
                let gone = self.session(node).is_none();
                if let Some(stored) = draft.node(node).filter(|_| gone) {
                    let next = session::left(stored, *why, draft.now());
                    draft.put_node(next);
                }
            }
            Report::Described(description) => {
                if let Some(stored) = draft.node(node) {
                    let next = Node {
                        description: Some(description.clone()),
                        ..stored.clone()
                    };
                    draft.put_node(next);
                }
            }
            Report::Tasks(statuses) => {
                for (id, status) in statuses {
                    session::take_status(draft, node, id, status.clone());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::TaskState,
        testing::{Cluster, id, service_spec},
    };

    fn state(cluster: &Cluster, name: &str) -> NodeState {
        cluster
            .store
            .node(&id::<NodeId>(name))
            .unwrap()
            .status
            .state
    }

    fn registered(name: &str) -> Report {
        Report::Registered {
            session: SessionId(name.into()),
            description: NodeDescription::default(),
            addr: None,
            data_path_addr: None,
        }
    }

    fn decide(cluster: &mut Cluster, reports: &[(NodeId, Report)]) -> Decided {
        let reports = reports.iter().map(|(node, report)| (node, report));
        cluster
            .leader
            .decide_reports(&cluster.store, reports, cluster.now)
    }

    #[test]
    fn reports_of_many_nodes_are_one_transaction() {
        let mut cluster = Cluster::new(&["n1", "n2"]);
        let service = cluster.create(service_spec("web", 2)).unwrap();
        cluster.run();
        let tasks = cluster.running(&service);
        let reports: Vec<_> = tasks
            .iter()
            .map(|task| {
                let status = TaskStatus {
                    state: TaskState::Failed,
                    timestamp: cluster.now,
                    ..TaskStatus::default()
                };
                let report = Report::Tasks([(task.id.clone(), status)].into());
                (task.node.clone(), report)
            })
            .chain([(id("gone"), registered("gone"))])
            .collect();
        let decided = decide(&mut cluster, &reports);
        assert_eq!(decided.transaction.changes.len(), 2);
        assert_eq!(decided.outcomes[..2], [Ok(()), Ok(())]);
        assert!(decided.outcomes[2].is_err(), "the node was removed");
        assert_eq!(decide(&mut cluster, &reports), decided, "may be repeated");
    }

    #[test]
    fn the_order_of_reports_decides() {
        let mut cluster = Cluster::new(&["n1"]);
        let (now, session) = (cluster.now, SessionId("n1".into()));
        assert!(
            cluster
                .leader
                .close_session(&cluster.store, &id("n1"), &session, now)
        );
        let back = [
            (id("n1"), Report::Left(Left::Closed)),
            (id("n1"), registered("again")),
        ];
        for _ in 0..2 {
            // The second time the session is open already: the end of the old one is history.
            let decided = decide(&mut cluster, &back);
            assert!(decided.transaction.is_empty() || decided.outcomes.len() == 2);
            cluster.commit(decided.transaction);
            assert_eq!(state(&cluster, "n1"), NodeState::Ready);
        }
        let again = SessionId("again".into());
        assert!(
            cluster
                .leader
                .close_session(&cluster.store, &id("n1"), &again, now)
        );
        let decided = decide(&mut cluster, &back[..1]);
        cluster.commit(decided.transaction);
        assert_eq!(state(&cluster, "n1"), NodeState::Disconnected);
    }

    #[test]
    fn the_first_report_is_written_at_once_and_the_next_ones_together() {
        let mut pace = Pace::default();
        let start = Timestamp(5_000_000_000);
        assert_eq!(pace.due(start), start);
        pace.written(start);
        let soon = start + Duration::from_millis(30);
        assert_eq!(pace.due(soon), start + PACE);
        let later = start + Duration::from_secs(1);
        assert!(pace.due(later) <= later);
        assert_eq!(
            pace.due(Timestamp(1)),
            Timestamp(1),
            "the clock was set back"
        );
    }
}
