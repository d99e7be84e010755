//! Managers that join and leave, as the leader sees it: Raft's membership and the node object, one after the other.

use std::net::SocketAddr;

use swarm_core::{
    control::{self, Code, ControlError},
    id::{NodeId, Random},
    model::{ManagerStatus, Role},
    store::Store,
};

use crate::{
    node::RaftNode,
    platform::Platform,
    types::{Member, RaftId},
    write::write,
};

/// A number that no member had: 48 random bits.
pub fn new_raft_id(random: &mut dyn Random) -> RaftId {
    random.below(1 << 48) + 1
}

impl<P: Platform> RaftNode<P> {
    /// Gives a manager a number (`raft_id` 0), or makes it a voter under the number it has and says so in its node object. May
    /// be repeated; a member that repeats it with another address has moved. `reachable` is awaited before anything depends on
    /// a new address.
    pub async fn join(
        &self,
        node: &NodeId,
        addr: SocketAddr,
        raft_id: RaftId,
        reachable: impl Future<Output = Result<(), ControlError>> + Send,
    ) -> Result<RaftId, ControlError> {
        self.linearize().await?;
        self.check_wanted(node)?;
        if raft_id == 0 {
            return Ok(new_raft_id(&mut self.platform().random()));
        }
        let _alone = self.changing.lock().await;
        let member = Member {
            node_id: node.to_string(),
            addr: addr.to_string(),
        };
        self.admit_member(node, raft_id, member, reachable).await?;
        let status = ManagerStatus::new(raft_id, addr);
        let transaction =
            control::set_manager(&self.store().read(), node, Some(status), self.now())?;
        self.propose(transaction).await?;
        tracing::info!(%node, raft_id, %addr, "manager joined");
        Ok(raft_id)
    }

    fn check_wanted(&self, node: &NodeId) -> Result<(), ControlError> {
        let store = self.store().read();
        let known = store.node(node);
        if known.is_none_or(|node| node.spec.role != Role::Manager) {
            return Err(ControlError::new(
                Code::PermissionDenied,
                format!("node {node} is not to be a manager"),
            ));
        }
        Ok(())
    }

    /// Makes a manager a voter, or writes down where it is now.
    async fn admit_member(
        &self,
        node: &NodeId,
        raft_id: RaftId,
        member: Member,
        reachable: impl Future<Output = Result<(), ControlError>> + Send,
    ) -> Result<(), ControlError> {
        let voters = self.voters();
        if voters.get(&raft_id) == Some(&member) {
            return Ok(());
        }
        // Before anything is taken away: a typing error must not cost a voter.
        if let Err(refusal) = reachable.await {
            self.forget_newcomer(node).await;
            return Err(refusal);
        }
        match voters.get(&raft_id) {
            Some(known) if known.node_id == member.node_id => {
                tracing::info!(%node, from = %known.addr, to = %member.addr, "manager has moved");
                if raft_id == self.raft_id() {
                    return self.set_address(raft_id, member).await;
                }
                // openraft keeps talking to a member where it began to, so it is made a new one; its log stays.
                self.remove_voter(raft_id).await?;
            }
            Some(_) | None => {}
        }
        let other = voters
            .iter()
            .find(|(id, known)| **id != raft_id && known.node_id == member.node_id);
        if let Some((other, known)) = other {
            // The node lost its state and comes back under a new number: the old member will never answer again.
            tracing::warn!(%node, raft_id = other, addr = %known.addr, "old member is replaced");
            self.remove_voter(*other).await?;
        }
        self.add_voter(raft_id, member).await
    }

    /// A node that could not become what it joined for is not left behind in the list of nodes.
    async fn forget_newcomer(&self, node: &NodeId) {
        let decide = |store: &Store, now| {
            let transaction = control::forget_newcomer(store, node, now)?;
            Ok(((), transaction))
        };
        if let Err(error) = write(self, false, decide).await {
            tracing::warn!(%node, %error, "a node that did not join stays in the list");
        }
    }

    /// Ends the membership of a manager that leaves by itself.
    pub async fn leave(&self, node: &NodeId) -> Result<(), ControlError> {
        self.linearize().await?;
        let _alone = self.changing.lock().await;
        let voters = self.voters();
        let own = voters
            .iter()
            .find(|(_, member)| member.node_id == node.as_str());
        let Some((raft_id, _)) = own else {
            self.forget_newcomer(node).await;
            return Ok(());
        };
        if voters.len() == 1 {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                "the last manager cannot leave: its cluster ends with it",
            ));
        }
        self.remove_member(*raft_id).await?;
        let transaction = control::set_manager(&self.store().read(), node, None, self.now())?;
        self.propose(transaction).await
    }
}
