//! The members of Raft and the node objects that speak of them: two records that a crash between two writes leaves apart.

use alloc::{borrow::ToOwned as _, collections::BTreeSet, string::String, vec::Vec};
use core::net::SocketAddr;

use super::{
    ControlError,
    node::{current, without},
};
use crate::{
    id::NodeId,
    model::{ManagerStatus, Role},
    store::{Store, Transaction},
    time::Timestamp,
};

/// A member of Raft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftMember {
    /// Its number.
    pub raft_id: u64,
    /// Its node.
    pub node: NodeId,
    /// Where others reach it.
    pub addr: SocketAddr,
    /// It counts for majorities; a learner is still catching up, or its join was never finished.
    pub voter: bool,
}

/// A record of Raft that names no node or no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of Raft's member {raft_id:x} cannot be read: node {node:?} at {addr:?}")]
pub struct UnreadableMember {
    /// Its number.
    pub raft_id: u64,
    /// Its node, as the record says.
    pub node: String,
    /// Its address, as the record says.
    pub addr: String,
}

impl RaftMember {
    /// Reads the record of a member. One that cannot be read is not to be left out: a member that [`member_fixes`] is not told of
    /// counts as none.
    pub fn read(
        raft_id: u64,
        node: &str,
        addr: &str,
        voter: bool,
    ) -> Result<Self, UnreadableMember> {
        match (node.parse(), addr.parse()) {
            (Ok(node), Ok(addr)) => Ok(Self {
                raft_id,
                node,
                addr,
                voter,
            }),
            (_, _) => Err(UnreadableMember {
                raft_id,
                node: node.to_owned(),
                addr: addr.to_owned(),
            }),
        }
    }
}

/// What the leader has to do so that members and node objects say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberFix {
    /// The leader is itself to be a worker: another manager has to lead first.
    HandOver,
    /// This member is to be none any more.
    Remove {
        /// Its number.
        raft_id: u64,
    },
    /// The node object does not say what Raft says.
    Record {
        /// The node.
        node: NodeId,
        /// What it should say.
        manager: Option<ManagerStatus>,
    },
}

/// Compares Raft's members, all of them, with the node objects. `this` is the leader's own number. Call it only while nobody joins.
pub fn member_fixes(store: &Store, members: &[RaftMember], this: u64) -> Vec<MemberFix> {
    let is_kept = |member: &&RaftMember| {
        let node = store.node(&member.node);
        member.voter && node.is_some_and(|node| node.spec.role == Role::Manager)
    };
    let (kept, others): (Vec<_>, Vec<_>) = members.iter().partition(is_kept);
    if others.iter().any(|member| member.raft_id == this) {
        // Nothing else before: what remains is the next leader's work.
        return alloc::vec![MemberFix::HandOver];
    }
    let records = kept.iter().filter_map(|member| unrecorded(store, member));
    let removals = others.iter().map(|member| MemberFix::Remove {
        raft_id: member.raft_id,
    });
    let kept: BTreeSet<&NodeId> = kept.iter().map(|member| &member.node).collect();
    let stale = store
        .nodes()
        .filter(|node| node.manager.is_some() && !kept.contains(&node.id));
    let stale = stale.map(|node| MemberFix::Record {
        node: node.id.clone(),
        manager: None,
    });
    records.chain(removals).chain(stale).collect()
}

/// What the node object of a member lacks.
fn unrecorded(store: &Store, member: &RaftMember) -> Option<MemberFix> {
    let recorded = store
        .node(&member.node)
        .and_then(|node| node.manager.as_ref());
    let same = recorded
        .is_some_and(|recorded| recorded.raft_id == member.raft_id && recorded.addr == member.addr);
    (!same).then(|| MemberFix::Record {
        node: member.node.clone(),
        manager: Some(ManagerStatus::new(member.raft_id, member.addr)),
    })
}

/// Forgets a node whose first steps failed: it has a certificate, but it was never there. Empty if it was.
pub fn forget_newcomer(
    store: &Store,
    id: &NodeId,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    let node = current(store, id)?;
    if node.description.is_some() || node.manager.is_some() {
        return Ok(Transaction::new(now));
    }
    Ok(without(store, node, now))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        control::{set_manager, update_node},
        testing::{Cluster, id},
    };

    fn member(name: &str, raft_id: u64, voter: bool) -> RaftMember {
        RaftMember {
            raft_id,
            node: id(name),
            addr: addr(raft_id),
            voter,
        }
    }

    fn addr(raft_id: u64) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, u8::try_from(raft_id).unwrap()], 2377))
    }

    fn status(raft_id: u64) -> ManagerStatus {
        ManagerStatus::new(raft_id, addr(raft_id))
    }

    /// A cluster whose nodes are all managers and, from 1 on, members.
    pub(super) fn managers(names: &[&str]) -> Cluster {
        let mut cluster = Cluster::new(names);
        for (raft_id, name) in (1..).zip(names) {
            role(&mut cluster, name, Role::Manager, &[]).unwrap();
            record(&mut cluster, name, Some(status(raft_id)));
        }
        cluster
    }

    fn record(cluster: &mut Cluster, name: &str, manager: Option<ManagerStatus>) {
        let transaction = set_manager(&cluster.store, &id(name), manager, cluster.now);
        cluster.commit(transaction.unwrap());
    }

    fn role(
        cluster: &mut Cluster,
        name: &str,
        role: Role,
        unreachable: &[&str],
    ) -> Result<(), ControlError> {
        let node = cluster.store.node(&id(name)).unwrap().clone();
        let mut spec = node.spec;
        spec.role = role;
        let unreachable = unreachable.iter().map(|name| id(name)).collect();
        let version = node.meta.version;
        let now = cluster.now;
        let changed = update_node(&cluster.store, &node.id, version, spec, &unreachable, now)?;
        cluster.commit(changed);
        Ok(())
    }

    #[test]
    fn a_demotion_never_takes_the_quorum() {
        let last = "attempting to demote the last manager of the swarm";
        let quorum = "can't remove member from the raft: this would result in a loss of quorum";
        for (names, target, unreachable, expected) in [
            (&["n1"][..], "n1", &[][..], Err(last)),
            (&["n1", "n2"], "n2", &[], Ok(())),
            (&["n1", "n2"], "n1", &[], Ok(())),
            // The one that does not answer may go, the one that does may not.
            (&["n1", "n2", "n3"], "n3", &["n3"], Ok(())),
            (&["n1", "n2", "n3"], "n2", &["n3"], Err(quorum)),
            (&["n1", "n2", "n3"], "n3", &[], Ok(())),
            (&["n1", "n2", "n3", "n4", "n5"], "n2", &["n5"], Ok(())),
            (
                &["n1", "n2", "n3", "n4", "n5"],
                "n2",
                &["n4", "n5"],
                Err(quorum),
            ),
            (&["n1", "n2", "n3", "n4", "n5"], "n5", &["n4", "n5"], Ok(())),
        ] {
            let mut cluster = managers(names);
            let outcome = role(&mut cluster, target, Role::Worker, unreachable);
            let outcome = outcome.map_err(|error| error.message);
            let expected = expected.map_err(alloc::string::ToString::to_string);
            assert_eq!(outcome, expected, "{names:?} {target} {unreachable:?}");
        }
    }

    /// Demoted before it was a member, and the only member is not demoted because a second one is only promised.
    #[test]
    fn a_promotion_that_did_not_happen_counts_for_nothing() {
        let mut cluster = managers(&["n1"]);
        let new = crate::testing::new_node("n2", Role::Worker);
        let added = crate::control::add_node(&cluster.store, new, cluster.now).unwrap();
        cluster.commit(added);
        role(&mut cluster, "n2", Role::Manager, &[]).unwrap();
        let refused = role(&mut cluster, "n1", Role::Worker, &[]).unwrap_err();
        assert_eq!(
            refused.message,
            "can't remove member from the raft: this would result in a loss of quorum"
        );
        role(&mut cluster, "n2", Role::Worker, &[]).unwrap();
        let refused = role(&mut cluster, "n1", Role::Worker, &[]).unwrap_err();
        assert_eq!(
            refused.message,
            "attempting to demote the last manager of the swarm"
        );
        role(&mut cluster, "n2", Role::Manager, &[]).unwrap();
    }

    #[test]
    fn a_record_is_read_as_a_whole_or_refused() {
        let node = id::<NodeId>("n1");
        let read = |node: &str, addr: &str| RaftMember::read(1, node, addr, true);
        assert_eq!(
            read(node.as_str(), "10.0.0.1:2377"),
            Ok(member("n1", 1, true))
        );
        let text = "the record of Raft's member 1 cannot be read: node \"?\" at \"10.0.0.1:2377\"";
        let refused = read("?", "10.0.0.1:2377").unwrap_err();
        assert_eq!(alloc::string::ToString::to_string(&refused), text);
        assert!(read(node.as_str(), "10.0.0.1").is_err());
    }

    #[test]
    fn members_and_nodes_that_agree_are_left_alone() {
        let cluster = managers(&["n1", "n2"]);
        let members = [member("n1", 1, true), member("n2", 2, true)];
        assert_eq!(member_fixes(&cluster.store, &members, 1), []);
    }

    #[test]
    fn who_is_no_manager_any_more_leaves_raft_and_the_leader_steps_back_first() {
        let mut cluster = managers(&["n1", "n2", "n3"]);
        role(&mut cluster, "n2", Role::Worker, &[]).unwrap();
        let members = vec![
            member("n1", 1, true),
            member("n2", 2, true),
            member("n3", 3, true),
        ];
        let removal = MemberFix::Remove { raft_id: 2 };
        let record = MemberFix::Record {
            node: id("n2"),
            manager: None,
        };
        let fixes = member_fixes(&cluster.store, &members, 1);
        assert_eq!(fixes, [removal, record.clone()]);
        assert_eq!(
            member_fixes(&cluster.store, &members, 2),
            [MemberFix::HandOver]
        );
        // The crash was between the two.
        let members = [member("n1", 1, true), member("n3", 3, true)];
        assert_eq!(member_fixes(&cluster.store, &members, 1), [record]);
    }

    #[test]
    fn a_join_that_was_cut_short_is_finished_or_undone() {
        let mut cluster = managers(&["n1", "n2"]);
        record(&mut cluster, "n2", None);
        // It became a voter, and the leader died before it wrote so.
        let members = [member("n1", 1, true), member("n2", 2, true)];
        let expected = MemberFix::Record {
            node: id("n2"),
            manager: Some(status(2)),
        };
        assert_eq!(member_fixes(&cluster.store, &members, 1), [expected]);
        // It did not even become a voter, or its node is gone.
        let members = [
            member("n1", 1, true),
            member("n2", 2, false),
            member("n9", 9, true),
        ];
        assert_eq!(
            member_fixes(&cluster.store, &members, 1),
            [2, 9].map(|raft_id| MemberFix::Remove { raft_id })
        );
    }

    #[test]
    fn only_a_node_that_was_never_there_is_forgotten() {
        let mut cluster = Cluster::new(&["n1"]);
        let new = crate::testing::new_node("n2", Role::Worker);
        let added = crate::control::add_node(&cluster.store, new, cluster.now).unwrap();
        cluster.commit(added);
        let forget = |cluster: &Cluster, name| {
            forget_newcomer(&cluster.store, &id(name), cluster.now).map(|it| it.is_empty())
        };
        assert_eq!(forget(&cluster, "n1"), Ok(true));
        assert_eq!(forget(&cluster, "n2"), Ok(false));
        assert!(forget(&cluster, "n3").is_err());
    }
}
