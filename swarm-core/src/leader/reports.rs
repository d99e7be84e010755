//! What agents tell, written together: one transaction carries the reports of many nodes, so that ten thousand tasks that
//! start cost a few writes and not ten thousand. SwarmKit collects for 100 ms; here the first report after a quiet time is
//! written at once, and what arrives during the next 100 ms waits for their end. Heartbeats are never written.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{net::IpAddr, time::Duration};

use super::{Leader, Left, SessionId, session};
use crate::{
    control::ControlError,
    id::{NodeId, TaskId},
    model::{Node, NodeDescription, TaskStatus},
    store::{Draft, Store, Transaction},
    time::Timestamp,
};

/// Shortest time between two writes of reports.
const PACE: Duration = Duration::from_millis(100);
/// Tasks of one report at most, so that a transaction is not much fuller than it may be.
const MAX_TASKS: usize = 256;

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
    /// States of tasks, see [`Report::tasks`].
    Tasks(Vec<(TaskId, TaskStatus)>),
}

impl Report {
    /// States of any number of tasks, as reports of bounded size.
    pub fn tasks(mut statuses: Vec<(TaskId, TaskStatus)>) -> impl Iterator<Item = Self> {
        core::iter::from_fn(move || {
            let rest = statuses.split_off(statuses.len().min(MAX_TASKS));
            let part = core::mem::replace(&mut statuses, rest);
            (!part.is_empty()).then_some(Self::Tasks(part))
        })
    }
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
    /// Sessions that begin when the transaction is committed, see [`Leader::open_sessions`].
    pub sessions: BTreeMap<NodeId, SessionId>,
}

impl Leader {
    /// Decides on reports in the order they came. May be called again with the same reports when the transaction was refused.
    pub fn decide_reports<'r>(
        &self,
        store: &Store,
        reports: impl Iterator<Item = (&'r NodeId, &'r Report)>,
        now: Timestamp,
    ) -> Decided {
        let mut draft = Draft::new(store, now);
        let (mut outcomes, mut sessions) = (Vec::new(), BTreeMap::new());
        for (node, report) in reports {
            if draft.is_full() {
                break;
            }
            outcomes.push(self.decide_report(&mut draft, &mut sessions, node, report));
        }
        Decided {
            transaction: draft.into_transaction(),
            outcomes,
            sessions,
        }
    }

    /// The transaction of the reports was committed: from here on these are the nodes' sessions.
    pub fn open_sessions(
        &mut self,
        store: &Store,
        sessions: BTreeMap<NodeId, SessionId>,
        now: Timestamp,
    ) {
        for (node, session) in sessions {
            self.open_session(store.cluster(), &node, session, now);
        }
    }

    fn decide_report(
        &self,
        draft: &mut Draft<'_>,
        sessions: &mut BTreeMap<NodeId, SessionId>,
        node: &NodeId,
        report: &Report,
    ) -> Result<(), ControlError> {
        let stored = draft.node(node);
        match report {
            Report::Registered {
                session,
                description,
                addr,
                data_path_addr,
            } => {
                let stored = session::find(stored, node)?;
                let ready = session::registered(stored, *addr, *data_path_addr, draft.now());
                draft.put_node(described(&ready, description));
                sessions.insert(node.clone(), session.clone());
            }
            Report::Left(why) => {
                let gone = self.session(node).is_none() && !sessions.contains_key(node);
                if let Some(stored) = stored.filter(|_| gone) {
                    draft.put_node(session::left(stored, *why, draft.now()));
                }
            }
            Report::Described(description) => {
                if let Some(stored) = stored {
                    draft.put_node(described(stored, description));
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

fn described(node: &Node, description: &NodeDescription) -> Node {
    Node {
        description: Some(description.clone()),
        ..node.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{NodeState, TaskState},
        testing::{Cluster, id, service_spec},
    };

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

    fn close(cluster: &mut Cluster, session: &str) -> bool {
        let (node, session) = (id("n1"), SessionId(session.into()));
        let now = cluster.now;
        cluster
            .leader
            .close_session(&cluster.store, &node, &session, now)
    }

    fn commit(cluster: &mut Cluster, decided: Decided) {
        cluster.commit(decided.transaction);
        cluster
            .leader
            .open_sessions(&cluster.store, decided.sessions, cluster.now);
    }

    #[test]
    fn the_order_of_reports_decides() {
        let mut cluster = Cluster::new(&["n1"]);
        let left = (id("n1"), Report::Left(Left::Closed));
        let back = (id("n1"), registered("again"));
        // The end of the old session is told first, or late: the node is there.
        let first = [left.clone(), back.clone()];
        for (open, reports) in [("n1", first), ("again", [back, left.clone()])] {
            assert!(close(&mut cluster, open));
            let decided = decide(&mut cluster, &reports);
            assert_eq!(decided.outcomes, [Ok(()), Ok(())]);
            commit(&mut cluster, decided);
            assert_eq!(cluster.node_state("n1"), NodeState::Ready);
        }
        assert!(close(&mut cluster, "again"));
        let decided = decide(&mut cluster, &[left]);
        commit(&mut cluster, decided);
        assert_eq!(cluster.node_state("n1"), NodeState::Disconnected);
    }

    /// The agent is told that it has no session, so the leader must not wait for its heartbeats.
    #[test]
    fn a_registration_that_was_not_written_opens_no_session() {
        let mut cluster = Cluster::new(&["n1"]);
        assert!(close(&mut cluster, "n1"));
        let reports = [(id("n1"), registered("again"))];
        decide(&mut cluster, &reports);
        assert_eq!(cluster.leader.session(&id("n1")), None);
        let decided = decide(&mut cluster, &reports);
        commit(&mut cluster, decided);
        assert_eq!(
            cluster.leader.session(&id("n1")),
            Some(&SessionId("again".into()))
        );
    }

    #[test]
    fn long_lists_of_tasks_are_cut() {
        let all: Vec<_> = (0..600)
            .map(|number| (id(&alloc::format!("t{number:03}")), TaskStatus::default()))
            .collect();
        let parts: Vec<_> = Report::tasks(all.clone())
            .map(|report| match report {
                Report::Tasks(part) => part,
                Report::Registered { .. } | Report::Left(_) | Report::Described(_) => {
                    panic!("{report:?}")
                }
            })
            .collect();
        let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
        assert_eq!(sizes, [256, 256, 88]);
        assert_eq!(parts.concat(), all);
        assert_eq!(Report::tasks(Vec::new()).count(), 0);
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
