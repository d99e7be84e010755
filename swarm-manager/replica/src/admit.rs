//! Who may send Raft messages (`docs/consensus.md`, rule 9).

use crate::types::{Membership, RaftId};

/// Whether member `us`, which knows this membership, takes messages of node `sender`.
pub fn may_send(membership: &Membership, us: RaftId, sender: &str) -> bool {
    // Numbers are never used again, so memberships without ours are from before we joined: while the log arrives,
    // they say nothing about who leads now.
    let is_joining = membership.nodes().all(|(id, _)| *id != us);
    let mut nodes = membership.nodes();
    is_joining || nodes.any(|(_, member)| member.node_id == sender)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::Member;

    #[test]
    fn members_are_heard_by_members_and_everyone_by_who_joins() {
        let member = |node_id: &str| Member {
            node_id: node_id.to_owned(),
            addr: String::new(),
        };
        let known = Membership::from(BTreeMap::from([(1, member("a")), (2, member("b"))]));
        assert!(may_send(&known, 1, "b"));
        assert!(!may_send(&known, 1, "c"));
        assert!(may_send(&known, 3, "c"), "who joins does not know yet");
        assert!(may_send(&Membership::default(), 1, "a"));
    }
}
