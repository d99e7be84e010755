//! Nodes that were removed while certificates of theirs may still hold. A certificate names a node and a role and outlives both, so
//! whoever must decide without the list of nodes at hand (a manager that was away, or is just joining) looks here. An entry
//! goes when no certificate of its node can hold any more, so the list does not grow for ever.

use alloc::collections::BTreeMap;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::NodeId,
    model::{Cluster, Role},
    store::Store,
    time::Timestamp,
};

/// How much longer an entry stays than the certificate by the clock of who removes the node. Clocks of nodes that join are
/// within half an hour of the others'; who signed, who removes, who forgets and who checks may all be different managers,
/// and twice that difference counts: the signer's clock may be ahead of the remover's, and the checker's behind the forgetter's.
const CLOCKS_APART: Duration = Duration::from_hours(1);

/// The nodes that were removed, each until the last of its certificates ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedNodes {
    nodes: BTreeMap<NodeId, Timestamp>,
    /// Certificates that were issued while the setting was another one end by then.
    #[serde(default)]
    earlier_end: Timestamp,
}

impl RemovedNodes {
    /// Whether this node was removed.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    /// The nodes, each with the moment until which it must be remembered.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, Timestamp)> {
        self.nodes.iter().map(|(node, until)| (node, *until))
    }

    /// Notes that a node is removed at `now`. `lifetime` is that of certificates which are issued at this time.
    pub fn add(&mut self, node: NodeId, lifetime: Duration, now: Timestamp) {
        let until = (now + lifetime + CLOCKS_APART).max(self.earlier_end);
        self.nodes.insert(node, until);
    }

    /// Notes that certificates which are issued from `now` on have another lifetime than before.
    pub fn lifetime_changes(&mut self, before: Duration, now: Timestamp) {
        self.earlier_end = self.earlier_end.max(now + before + CLOCKS_APART);
    }

    /// Takes over what another list has; gives whether anything is new.
    pub fn learn(&mut self, other: &Self) -> bool {
        let mut is_news = false;
        for (node, until) in other.iter() {
            let known = self.nodes.entry(node.clone()).or_default();
            is_news |= *known < until;
            *known = until.max(*known);
        }
        is_news
    }

    /// Forgets the nodes whose last certificate has ended; gives whether there were any.
    pub fn forget_ended(&mut self, now: Timestamp) -> bool {
        let before = self.nodes.len();
        self.nodes.retain(|_node, until| *until > now);
        self.nodes.len() != before
    }

    /// When the next entry may go.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.nodes.values().min().copied()
    }
}

impl FromIterator<(NodeId, Timestamp)> for RemovedNodes {
    fn from_iter<I: IntoIterator<Item = (NodeId, Timestamp)>>(nodes: I) -> Self {
        Self {
            nodes: nodes.into_iter().collect(),
            earlier_end: Timestamp::default(),
        }
    }
}

/// The cluster without the removed nodes that need not be remembered any more; `None` if all must. For the leader's step.
pub fn forget_ended(cluster: &Cluster, now: Timestamp) -> Option<Cluster> {
    let is_due = cluster.removed.next_end().is_some_and(|end| end <= now);
    is_due.then(|| {
        let mut cluster = cluster.clone();
        cluster.removed.forget_ended(now);
        cluster
    })
}

/// Why a node's certificate gives it no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disowned {
    /// It was removed, or it never joined.
    #[error("is not a member of this swarm")]
    NoMember,
    /// Its certificate is a manager's, and it is to be a worker.
    #[error("is no longer a manager")]
    Demoted,
}

/// What a certificate of this node and role is worth by the list of nodes, which decides where all of it is at hand: on the leader.
pub fn standing(store: &Store, node: &NodeId, role: Role) -> Result<(), Disowned> {
    let known = store.node(node).ok_or(Disowned::NoMember)?;
    if role == Role::Manager && known.spec.role == Role::Worker {
        return Err(Disowned::Demoted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{
        control::{
            ClusterUpdate, RootChange, TokenRotation, add_node, force_new_cluster, forget_newcomer,
            remove_node, set_manager, update_cluster,
        },
        model::ManagerStatus,
        store::Transaction,
        testing::{Cluster as World, at, id, new_node},
    };

    const DAY: u64 = 24 * 3600;
    const HOUR: u64 = 3600;

    fn days(number: u64) -> Duration {
        Duration::from_secs(number * DAY)
    }

    #[test]
    fn an_entry_stays_as_long_as_the_longest_certificate() {
        let node = id::<NodeId>("n2");
        for (what, changes, lifetime, expected) in [
            ("one lifetime", &[][..], 90, at(100 * DAY + 90 * DAY + HOUR)),
            // Issued just before it became shorter.
            ("a longer one before", &[(90, 40)], 1, at(130 * DAY + HOUR)),
            ("a shorter one before", &[(1, 40)], 90, at(190 * DAY + HOUR)),
            (
                "the longest of several",
                &[(90, 40), (10, 50)],
                1,
                at(130 * DAY + HOUR),
            ),
            (
                "one that has long ended",
                &[(2, 40)],
                1,
                at(101 * DAY + HOUR),
            ),
        ] {
            let mut removed = RemovedNodes::default();
            for (before, day) in changes {
                removed.lifetime_changes(days(*before), at(day * DAY));
            }
            removed.add(node.clone(), days(lifetime), at(100 * DAY));
            let all: Vec<_> = removed.iter().collect();
            assert_eq!(all, [(&node, expected)], "{what}");
            assert_eq!(removed.next_end(), Some(expected), "{what}");
        }
    }

    #[test]
    fn entries_go_when_they_end_and_not_before() {
        let (one, two) = (id::<NodeId>("n1"), id::<NodeId>("n2"));
        let mut removed: RemovedNodes = [(one.clone(), at(10)), (two.clone(), at(20))]
            .into_iter()
            .collect();
        assert!(!removed.forget_ended(at(9)));
        assert!(removed.contains(&one) && removed.contains(&two));
        assert!(removed.forget_ended(at(10)));
        assert!(!removed.contains(&one) && removed.contains(&two));
        assert!(removed.forget_ended(at(1000)));
        assert_eq!(removed.next_end(), None);
    }

    #[test]
    fn what_others_know_is_added_and_never_shortened() {
        let (one, two) = (id::<NodeId>("n1"), id::<NodeId>("n2"));
        let list = |all: &[(&NodeId, u64)]| -> RemovedNodes {
            all.iter()
                .map(|(node, end)| ((*node).clone(), at(*end)))
                .collect()
        };
        for (known, told, after, is_news) in [
            (list(&[]), list(&[]), list(&[]), false),
            (list(&[]), list(&[(&one, 5)]), list(&[(&one, 5)]), true),
            (
                list(&[(&one, 5)]),
                list(&[(&one, 5)]),
                list(&[(&one, 5)]),
                false,
            ),
            (
                list(&[(&one, 5)]),
                list(&[(&one, 4)]),
                list(&[(&one, 5)]),
                false,
            ),
            (
                list(&[(&one, 5)]),
                list(&[(&one, 6)]),
                list(&[(&one, 6)]),
                true,
            ),
            (
                list(&[(&one, 5)]),
                list(&[(&two, 1)]),
                list(&[(&one, 5), (&two, 1)]),
                true,
            ),
        ] {
            let mut learned = known.clone();
            assert_eq!(learned.learn(&told), is_news, "{known:?} {told:?}");
            assert_eq!(learned, after, "{known:?} {told:?}");
        }
    }

    fn removed(world: &World) -> &RemovedNodes {
        &world.store.cluster().unwrap().removed
    }

    /// Removed by the operator, or because it never got further than its certificate.
    #[test]
    fn whoever_leaves_the_list_of_nodes_is_remembered_until_its_certificates_end() {
        type Removal = fn(&World) -> Transaction;
        let by_operator: Removal =
            |world| remove_node(&world.store, &id("n2"), true, world.now).unwrap();
        let newcomer: Removal =
            |world| forget_newcomer(&world.store, &id("n2"), world.now).unwrap();
        for removal in [by_operator, newcomer] {
            let mut world = World::new(&["n1"]);
            let joined = add_node(&world.store, new_node("n2", Role::Worker), world.now);
            world.commit(joined.unwrap());
            let transaction = removal(&world);
            let end = world.now + days(90) + Duration::from_hours(1);
            world.commit(transaction);
            world.settle();
            let node = id::<NodeId>("n2");
            assert_eq!(
                standing(&world.store, &node, Role::Worker),
                Err(Disowned::NoMember)
            );
            assert_eq!(removed(&world).iter().collect::<Vec<_>>(), [(&node, end)]);
            assert_eq!(removed(&world).next_end(), Some(end));
            // Nobody but this list is waited for in a cluster whose nodes are all silent.
            world.now = end;
            world.settle();
            assert!(!removed(&world).contains(&node), "the leader forgets it");
        }
    }

    #[test]
    fn a_shorter_lifetime_does_not_shorten_what_was_issued_before() {
        let mut world = World::new(&["n1", "n2"]);
        let cluster = world.store.cluster().unwrap().clone();
        let mut spec = cluster.spec;
        spec.node_cert_expiry = days(1);
        let update = ClusterUpdate {
            version: cluster.meta.version,
            spec,
            rotate: TokenRotation::default(),
            root: RootChange::Keep,
        };
        let changed_at = world.now;
        let update = update_cluster(&world.store, update, changed_at, &mut world.rng).unwrap();
        world.commit(update);
        let remove = remove_node(&world.store, &id("n2"), true, world.now).unwrap();
        world.commit(remove);
        let end = changed_at + days(90) + CLOCKS_APART;
        assert_eq!(removed(&world).next_end(), Some(end));
    }

    /// An identifier that was removed does not come back with a cluster of one either.
    #[test]
    fn a_removed_node_makes_no_cluster_of_one_from_what_it_has() {
        let mut world = World::new(&["n1", "n2"]);
        let status = |raft_id| ManagerStatus::new(raft_id, ([10, 0, 0, 2], 2377).into());
        let first = set_manager(&world.store, &id("n1"), Some(status(1)), world.now);
        world.commit(first.unwrap());
        let remove = remove_node(&world.store, &id("n2"), true, world.now).unwrap();
        world.commit(remove);
        for (survivor, works) in [("n1", true), ("n2", false)] {
            let mut store = world.store.clone();
            let forced = force_new_cluster(&store, &id(survivor), status(9), world.now);
            let forced = store.apply(1000, forced.unwrap());
            assert_eq!(forced.is_ok(), works, "{survivor}");
            assert!(store.cluster().unwrap().removed.contains(&id("n2")));
        }
    }

    #[test]
    fn what_a_certificate_is_worth() {
        let world = World::new(&["n1", "n2"]);
        for (name, role, expected) in [
            ("n1", Role::Manager, Ok(())),
            ("n1", Role::Worker, Ok(())),
            ("n2", Role::Worker, Ok(())),
            ("n2", Role::Manager, Err(Disowned::Demoted)),
            ("n3", Role::Manager, Err(Disowned::NoMember)),
            ("n3", Role::Worker, Err(Disowned::NoMember)),
        ] {
            assert_eq!(
                standing(&world.store, &id(name), role),
                expected,
                "{name} {role:?}"
            );
        }
    }
}
