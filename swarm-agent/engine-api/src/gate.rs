//! Who may do what, by this node's place in a swarm: Docker's refusals on nodes that are no managers, and its warnings
//! to managers that leave.

use swarm_api::info::{Membership, MembershipState};
use swarm_core::model::{Node, Reachability};

use crate::{HostError, error::ApiError};

/// Why this node cannot answer for the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotManager {
    /// It is in no swarm.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    )]
    NoSwarm,
    /// It is a worker.
    #[error(
        "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager."
    )]
    Worker,
    /// Its manager does not answer.
    #[error(
        "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster."
    )]
    NotReady,
    /// Its manager awaits the key.
    #[error(
        "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it."
    )]
    Locked,
    /// Its certificate has expired.
    #[error("Swarm certificates have expired. To replace them, leave the swarm and join again.")]
    Expired,
}

/// Whether this node may answer for the cluster.
pub fn check_manager(membership: &Membership) -> Result<(), NotManager> {
    match membership.state {
        _ if membership.certificate_expired => Err(NotManager::Expired),
        MembershipState::Inactive => Err(NotManager::NoSwarm),
        MembershipState::Locked => Err(NotManager::Locked),
        MembershipState::Pending | MembershipState::Active | MembershipState::Error => {
            match (membership.control_available, membership.manager) {
                (true, _) => Ok(()),
                (false, true) => Err(NotManager::NotReady),
                (false, false) if membership.state == MembershipState::Active => {
                    Err(NotManager::Worker)
                }
                (false, false) => Err(NotManager::NoSwarm),
            }
        }
    }
}

/// Whether this node may make or join a cluster.
pub fn check_outside(membership: &Membership) -> Result<(), HostError> {
    match membership.state {
        MembershipState::Inactive => Ok(()),
        MembershipState::Pending
        | MembershipState::Active
        | MembershipState::Locked
        | MembershipState::Error => Err(HostError::AlreadyMember),
    }
}

/// Whether this node may make a cluster. With `--force-new-cluster` a manager makes one from the state it has, whether or not the
/// other managers answer; so does a node that could not be started again.
pub(crate) fn check_init(membership: &Membership, force_new_cluster: bool) -> Result<(), ApiError> {
    match membership.state {
        MembershipState::Active if force_new_cluster && !membership.manager => {
            Err(NotManager::Worker.into())
        }
        MembershipState::Locked if force_new_cluster => Err(NotManager::Locked.into()),
        MembershipState::Active | MembershipState::Error if force_new_cluster => Ok(()),
        MembershipState::Inactive
        | MembershipState::Pending
        | MembershipState::Active
        | MembershipState::Locked
        | MembershipState::Error => Ok(check_outside(membership)?),
    }
}

/// Why a node does not leave without force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MayNotLeave {
    /// It is in no swarm.
    #[error("This node is not part of a swarm")]
    NotMember,
    /// Its manager awaits the key.
    #[error(
        "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."
    )]
    Locked,
    /// It is the only manager.
    #[error(
        "You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message."
    )]
    LastManager,
    /// It is a manager.
    #[error(
        "You are attempting to leave the swarm on a node that is participating as a manager. {consequence}The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message."
    )]
    Manager {
        /// What its leaving does to the quorum; empty if nothing.
        consequence: String,
    },
}

/// Whether this node may leave. `nodes` is what its manager answered, if it did.
pub fn check_leave(
    membership: &Membership,
    nodes: Option<&[Node]>,
    force: bool,
) -> Result<(), MayNotLeave> {
    match membership.state {
        MembershipState::Inactive => return Err(MayNotLeave::NotMember),
        MembershipState::Locked if !force => return Err(MayNotLeave::Locked),
        MembershipState::Pending
        | MembershipState::Active
        | MembershipState::Locked
        | MembershipState::Error => {}
    }
    if force || !membership.manager {
        return Ok(());
    }
    let Some(nodes) = nodes else {
        return Err(MayNotLeave::Manager {
            consequence: String::from("Doing so may lose the consensus of your cluster. "),
        });
    };
    let managers = nodes.iter().filter_map(|node| node.manager.as_ref());
    let (reachable, unreachable): (Vec<_>, Vec<_>) =
        managers.partition(|manager| manager.reachability == Reachability::Reachable);
    let (reachable, unreachable) = (reachable.len(), unreachable.len());
    if reachable <= 1 && unreachable == 0 {
        return Err(MayNotLeave::LastManager);
    }
    // Docker's arithmetic: the quorum is lost if what stays reachable is no majority.
    let consequence = if reachable <= unreachable + 2 {
        format!(
            "Removing this node leaves {} managers out of {}. Without a Raft quorum your swarm will be inaccessible. ",
            reachable.saturating_sub(1),
            reachable + unreachable
        )
    } else {
        String::new()
    };
    Err(MayNotLeave::Manager { consequence })
}

#[cfg(test)]
mod tests {
    use swarm_core::model::{ManagerStatus, Meta, NodeSpec, NodeStatus};

    use super::*;

    fn at(state: MembershipState, manager: bool, control_available: bool) -> Membership {
        Membership {
            state,
            manager,
            control_available,
            ..Membership::default()
        }
    }

    fn manager(reachability: Reachability) -> Node {
        Node {
            id: "aaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(),
            meta: Meta::default(),
            spec: NodeSpec::default(),
            description: None,
            status: NodeStatus::default(),
            manager: Some(ManagerStatus {
                raft_id: 1,
                addr: "10.0.0.1:2377".parse().unwrap(),
                leader: false,
                reachability,
            }),
            attachment: None,
        }
    }

    #[test]
    fn who_answers_for_the_cluster() {
        use MembershipState::{Active, Error, Inactive, Locked, Pending};
        for (membership, expected) in [
            (at(Inactive, false, false), Err(NotManager::NoSwarm)),
            (at(Pending, false, false), Err(NotManager::NoSwarm)),
            (at(Active, false, false), Err(NotManager::Worker)),
            (at(Active, true, false), Err(NotManager::NotReady)),
            (at(Active, true, true), Ok(())),
            (at(Locked, true, false), Err(NotManager::Locked)),
            (at(Error, true, false), Err(NotManager::NotReady)),
        ] {
            assert_eq!(check_manager(&membership), expected, "{membership:?}");
        }
        let expired = Membership {
            certificate_expired: true,
            ..at(Active, true, true)
        };
        assert_eq!(check_manager(&expired), Err(NotManager::Expired));
    }

    #[test]
    fn who_may_leave() {
        use MembershipState::{Active, Inactive, Locked};
        let one = [manager(Reachability::Reachable)];
        let two = [
            manager(Reachability::Reachable),
            manager(Reachability::Reachable),
        ];
        let leave = |membership: Membership, nodes: Option<&[Node]>, force| {
            check_leave(&membership, nodes, force).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(leave(at(Active, false, false), None, false), Ok(()));
        assert_eq!(leave(at(Active, true, true), Some(&one), true), Ok(()));
        assert_eq!(leave(at(Locked, true, false), None, true), Ok(()));
        assert!(leave(at(Inactive, false, false), None, true).is_err());
        assert!(leave(at(Locked, true, false), None, false).is_err());
        let last = leave(at(Active, true, true), Some(&one), false).unwrap_err();
        assert!(last.ends_with("Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message."), "{last}");
        let of_two = leave(at(Active, true, true), Some(&two), false).unwrap_err();
        assert!(
            of_two.contains("Removing this node leaves 1 managers out of 2. Without a Raft quorum"),
            "{of_two}"
        );
        let unknown = leave(at(Active, true, false), None, false).unwrap_err();
        assert!(
            unknown.contains("Doing so may lose the consensus of your cluster."),
            "{unknown}"
        );
    }
}
