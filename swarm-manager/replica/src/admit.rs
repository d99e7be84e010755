//! Whose Raft messages are taken (`docs/consensus.md`, rule 9). A certificate outlives the membership it was issued for, so it
//! does not suffice: whoever misuses one could depose a leader with a vote or write entries of its own. A node that is known to be
//! removed is not heard, whatever else holds.

use swarm_core::id::NodeId;

use crate::types::{Membership, RaftId};

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Whether a vote would be given.
    PreVote,
    /// A vote.
    Vote {
        /// At the leader's own wish, while it still leads.
        by_transfer: bool,
    },
    /// Entries, or a heartbeat.
    Entries,
    /// A whole state.
    Snapshot,
    /// That this manager takes the leadership over.
    Transfer,
}

/// Who speaks, as far as a membership tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    /// The membership names this number for this node.
    Named,
    /// It names another node for the number.
    Misnamed,
    /// It does not name the number. A manager that was away cannot tell who came later from who went later.
    Stranger,
}

/// What a manager knows of those who may speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Hearing {
    /// The members of Raft, as far as they are known here.
    pub(crate) membership: Membership,
    /// It has long heard no leader it knows.
    pub(crate) silence: bool,
    /// The sender is known to be removed.
    pub(crate) removed: bool,
}

fn speaker(membership: &Membership, sender: &NodeId, number: RaftId) -> Speaker {
    match membership.get_node(&number) {
        Some(member) if member.node_id == sender.as_str() => Speaker::Named,
        Some(_other) => Speaker::Misnamed,
        None => Speaker::Stranger,
    }
}

impl Hearing {
    /// Whether a message of node `sender`, which speaks as member `number`, is taken. A stranger is heard only in a silence: by a
    /// manager that may have been away while all others were replaced, and would wait for ever for those it knows.
    pub(crate) fn listens(&self, sender: &NodeId, number: RaftId, message: Message) -> bool {
        if self.removed {
            return false;
        }
        match (speaker(&self.membership, sender, number), message) {
            (Speaker::Named, _) => true,
            // Who hands over to us has sent us everything before, its own membership included.
            (Speaker::Misnamed, _)
            | (Speaker::Stranger, Message::Transfer | Message::Vote { by_transfer: true }) => false,
            (
                Speaker::Stranger,
                Message::PreVote
                | Message::Vote { by_transfer: false }
                | Message::Entries
                | Message::Snapshot,
            ) => self.silence,
        }
    }

    /// Whether any message of node `sender` may be taken: of others not even the bytes are looked at.
    pub(crate) fn may_speak(&self, sender: &NodeId) -> bool {
        let is_named = || {
            let mut members = self.membership.nodes();
            members.any(|(_, member)| member.node_id == sender.as_str())
        };
        !self.removed && (self.silence || is_named())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::Member;

    fn node(name: &str) -> NodeId {
        format!("{name:0<25}").parse().expect("it is an identifier")
    }

    fn member(name: &str) -> Member {
        Member {
            node_id: node(name).to_string(),
            addr: String::new(),
        }
    }

    #[test]
    fn members_are_heard_always_strangers_in_a_silence_and_the_removed_never() {
        let known = Membership::from(BTreeMap::from([(1, member("a")), (2, member("b"))]));
        let vote = |by_transfer| Message::Vote { by_transfer };
        let all = [
            Message::PreVote,
            vote(false),
            vote(true),
            Message::Entries,
            Message::Snapshot,
            Message::Transfer,
        ];
        let strangers = [true, true, false, true, true, false];
        for (sender, number, silence, taken) in [
            ("b", 2, false, [true; 6]),
            ("b", 2, true, [true; 6]),
            // a member under another's number
            ("b", 1, true, [false; 6]),
            // not a member here: added later, or removed, or a member under a number it made up
            ("c", 3, false, [false; 6]),
            ("b", 3, false, [false; 6]),
            ("c", 3, true, strangers),
            // demoted and not removed is a stranger like others: it may have been promoted again
            ("b", 4, true, strangers),
        ] {
            for removed in [false, true] {
                let hearing = Hearing {
                    membership: known.clone(),
                    silence,
                    removed,
                };
                let sender = node(sender);
                let heard = all.map(|message| hearing.listens(&sender, number, message));
                let expected = if removed { [false; 6] } else { taken };
                let case = format!("{sender} as {number}, silence {silence}, removed {removed}");
                assert_eq!(heard, expected, "{case}");
                let any = expected.contains(&true);
                assert!(!any || hearing.may_speak(&sender), "{case}");
                assert!(!removed || !hearing.may_speak(&sender), "{case}");
            }
        }
        let hearing = Hearing {
            membership: known,
            silence: false,
            removed: false,
        };
        assert!(!hearing.may_speak(&node("c")));
    }
}
