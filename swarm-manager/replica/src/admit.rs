//! Whose Raft messages are taken (`docs/consensus.md`, rule 9). A certificate outlives the membership it was issued for, so it
//! does not suffice: whoever misuses one could depose a leader with a vote or write entries of its own.

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

fn speaker(membership: &Membership, sender: &str, number: RaftId) -> Speaker {
    match membership.get_node(&number) {
        Some(member) if member.node_id == sender => Speaker::Named,
        Some(_other) => Speaker::Misnamed,
        None => Speaker::Stranger,
    }
}

/// Whether a message of node `sender`, which speaks as member `number`, is taken by a manager that knows this membership. A
/// stranger is heard only in a silence: by a manager that has long heard no leader it knows. It may have been away while
/// all others were replaced, and would wait for ever for those it knows.
pub(crate) fn listens(
    membership: &Membership,
    sender: &str,
    number: RaftId,
    message: Message,
    silence: bool,
) -> bool {
    match (speaker(membership, sender, number), message) {
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
        ) => silence,
    }
}

/// Whether any message of node `sender` may be taken: of others not even the bytes are looked at.
pub(crate) fn may_speak(membership: &Membership, sender: &str, silence: bool) -> bool {
    silence
        || membership
            .nodes()
            .any(|(_, member)| member.node_id == sender)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::Member;

    #[test]
    fn members_are_heard_always_and_strangers_in_a_silence() {
        let member = |node_id: &str| Member {
            node_id: node_id.to_owned(),
            addr: String::new(),
        };
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
        for (sender, number, silence, taken) in [
            ("b", 2, false, [true; 6]),
            ("b", 2, true, [true; 6]),
            // a member under another's number
            ("b", 1, true, [false; 6]),
            // not a member here: added later, or removed, or a member under a number it made up
            ("c", 3, false, [false; 6]),
            ("b", 3, false, [false; 6]),
            ("c", 3, true, [true, true, false, true, true, false]),
        ] {
            let heard = all.map(|message| listens(&known, sender, number, message, silence));
            assert_eq!(heard, taken, "{sender} as {number}, silence {silence}");
            let any = taken.contains(&true);
            assert!(!any || may_speak(&known, sender, silence));
        }
        assert!(!may_speak(&known, "c", false));
    }
}
