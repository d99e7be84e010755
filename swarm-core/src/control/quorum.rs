//! Whether those who stay can go on deciding without one of them.

use alloc::collections::BTreeSet;

use super::{Code, ControlError};
use crate::{model::Role, store::Store};

/// Why the last manager stays one.
const LAST_MANAGER: &str = "attempting to demote the last manager of the swarm";
/// Why a manager stays one without which the rest could not decide.
const LOSS_OF_QUORUM: &str =
    "can't remove member from the raft: this would result in a loss of quorum";

/// Refuses to let the only member of Raft go. It is the last manager, unless others are promoted that are no members yet.
pub(crate) fn only_member(store: &Store) -> ControlError {
    let managers = store
        .nodes()
        .filter(|node| node.spec.role == Role::Manager)
        .count();
    let text = if managers > 1 {
        LOSS_OF_QUORUM
    } else {
        LAST_MANAGER
    };
    ControlError::new(Code::FailedPrecondition, text)
}

/// Refuses to take `gone` out of `members` if those of the rest who answer are no majority of it: the change could not be
/// committed, nor anything behind it.
pub fn check_quorum_without<T: Ord>(
    members: &BTreeSet<T>,
    answering: &BTreeSet<T>,
    gone: &T,
) -> Result<(), ControlError> {
    let rest = members.iter().filter(|member| *member != gone);
    let answer = rest.clone().filter(|member| answering.contains(*member));
    if answer.count() > rest.count() / 2 {
        return Ok(());
    }
    Err(ControlError::new(Code::FailedPrecondition, LOSS_OF_QUORUM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_those_who_stay_must_answer() {
        let set = |members: &[u64]| members.iter().copied().collect::<BTreeSet<_>>();
        for (members, answering, gone, allowed) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], 2, true),
            (&[1, 2, 3], &[1, 2], 3, true),
            (&[1, 2, 3], &[1, 2], 2, false),
            (&[1, 2], &[1, 2], 2, true),
            (&[1, 2, 3, 4, 5], &[1, 2, 3], 5, true),
            (&[1, 2, 3, 4, 5], &[1, 2, 3], 3, false),
        ] {
            let checked = check_quorum_without(&set(members), &set(answering), &gone);
            assert_eq!(checked.is_ok(), allowed, "{members:?} {answering:?} {gone}");
        }
    }
}
